"""Answers HTTP. Starts no process; asks the supervisor for the model that a request names.

Packages and files in layers, the lowest first: a file imports only from its own package and from
layers that come earlier (tests/test_layers.py holds the list). Each package begins with a map of
its files.

    errors            Requests that cannot be answered, and what the client is told.
    linux             Calls of Linux that Python has no function for.
    limits            How long a worker waits for others.

    json/             JSON texts by their bytes: where values are, and edits that leave the rest as
                      it is.
    leases/           Leases this worker holds, requests in flight, queries to the supervisor. Pure.
    http/             HTTP/1.1 building blocks for the client side; no knowledge of models.

    connections/      Client connections below HTTP: sockets, deadlines, and turns for long work.

    streams/          Framing of response streams: SSE and the AWS event stream.

    apis/base/        The interface of an API: routes, frames, ends, usage, errors.
    apis/chat/        Chat completions.
    apis/messages/    Anthropic Messages.
    apis/management/  What is asked of this program itself: routes and answers.
    apis/ollama/      Ollama's API, translated.
    apis/responses/   OpenAI Responses.
    apis/             One module per API, and the table of all; model names in bodies.

    accounting/       Reads a copy of each response: tokens, finish reason, cost, record.

    progress/         Progress for a waiting client, and when it is sent.
    feeds/            What those get who follow logs and events.
    upstreams/        The upstream side: connection pool, heads, peers and their auth, retries.

    apis/turns/       `/v1/streaming_query`: a chat stream as turn events.

    relay/            One request/response exchange, from client bytes to client bytes.
    http2/            HTTP/2 for clients: each stream is served as an HTTP/1.1 connection of its
                      own.

    websocket/        WebSockets: handshake, tunnel, and the Responses API turn by turn.
    preview           What would go upstream, without sending it.
    model_status      What readers of events are told of models.
    supervisor_link   Lease messages and events.
    control_socket    What few pages ask the supervisor, as scripts do.
    feed_link         Logs and events for those who follow them.

    ui/               The page for people.

    server/           Accepts connections and dispatches: HTTP/1.1 fast path, Hypercorn for pages,
                      management API.

    app               Wiring of one worker.

    __main__          Started by the supervisor.

    zygote            Forks the first workers; started by the supervisor.

A worker promises a client exactly one of: the whole answer, an error in the shape of its API, or
an unclean close. This package never imports `supervisor`.
"""
