"""One request/response exchange, from client bytes to client bytes.

Lowest first:

    frame_pipeline      Account, prefill, filter per frame.
    model_request       Head and body -> `ModelRequest`.
    response_writer     `ResponseWriter`: head, chunks, trailers, error, end.
    progress_updates    `ProgressUpdates`: what a waiting client is told.
    exchange            `Exchange`: these three and the account.
    progress_broadcast  One task that sends the updates of all who wait.
    context             What handling a request needs.
    detours             Selectors, machines, filters, and models in the place of others.
    upstream_request    What is sent to a model, or to a peer.
    wait_for_model      Wait for a lease; pauses.
    send                Send it, read the head: `UpstreamResponse` or `RetryAfter`.
    stream_response     SSE responses.
    response            Non-stream responses, as they are or translated.
    serve_peer          Request -> peer -> response.
    handler             Request -> lease -> upstream -> response; errors.
"""
