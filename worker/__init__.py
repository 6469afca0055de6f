"""Answers HTTP. Starts no process; asks the supervisor for the model that a request names.

A worker promises a client exactly one of: the whole answer, an error in the shape of its API, or
an unclean close. Layout, lowest first; a file imports only from those above it:

    errors         what cannot be answered, and what the client is told
    target         deciding   where a request goes: its target, and the host that it names
    head           deciding   head of a request; the rules against smuggling
    chunked        deciding   chunked body of a request -> bytes
    pace           deciding   how slowly a body may come
    body_memory    deciding   how much of all bodies is kept at a time
    json_spans     deciding   where the values of a JSON text are, in bounded steps
    multipart      deciding   form -> the model that it names
    paths          deciding   path -> form of the answer
    unknown_paths  deciding   what is said where nothing is
    keys           deciding   which key a client shows, and who it is
    cors           deciding   which pages may ask, and what their browsers have to be told
    admission      deciding   may this request act at all
    tracing        deciding   ids of a request and of its trace
    header_rules   deciding   fields that the configuration changes
    own_lines      deciding   our own lines in a text, whatever a client has put around them
    stripping      deciding   our own words out of what clients send back
    large_body     deciding   what is read of a body that is too long to be read in one go
    naming         deciding   body -> name of the model -> where that is
    headers        deciding   header fields up and down; head of an upstream's answer
    sse            deciding   where a frame ends; whether a stream is whole; error frames
    sse_events     deciding   the events in a stream
    eventstream    deciding   the messages in a stream of Bedrock
    tokens         deciding   which API; the tokens of an answer
    usage*         deciding   an answer -> its tokens, API by API
    finish         deciding   why an answer ended, and which model spoke
    answer_reader  deciding   reads a copy of an answer for all of that
    cost           deciding   tokens and prices -> money
    record         deciding   the record of one request
    gateway_fields deciding   what a client is told of it: fields and trailers
    account        deciding   all of that for one request while it runs
    wishes         deciding   what an upstream is asked for besides
    body_edits     deciding   single members of a body are changed
    outgoing       deciding   what goes to the upstream
    chunk_filters  deciding   chunks that only we have asked for are taken out
    prefill        deciding   how far a prompt is read
    retry          deciding   whether an upstream is asked again, and when
    peer_auth      deciding   signatures of Amazon
    peers          deciding   what goes to another server, and where
    voice          deciding   what a waiting client is told: the words that all APIs have
    merging        deciding   frames one by one, for a stream that goes on from ours
    merge_*        deciding   which of them are changed, and how; a file for each API
    heard          deciding   what a client has heard of a stream that has to be ended
    voice_*        deciding   the words of one API
    turn_*         deciding   a chat as the events of a turn
    error_answer   deciding   an error as a whole answer
    modes          deciding   how a waiting client is told of progress
    voices         deciding   form of the answer -> voice
    waiting        deciding   when it is told
    passage        deciding   what becomes of the frames of a stream on their way
    leases         deciding   what may be done without asking, and with which key; who waits
    running        deciding   requests by their ids, to be cancelled
    progress_view  deciding   how all models stand
    websocket      deciding   messages of a WebSocket; which model, when to close, and why
    ws_turns       deciding   the accounts of its turns
    health         deciding   the answer to /health
    page_request   deciding   a request as Hypercorn gets it
    http2_frames   deciding   frames of HTTP/2: where they end, and what they cost
    http2_head     deciding   heads: HTTP/2 -> HTTP/1.1 and back
    wire           doing      one socket, as thin as it goes
    tls_wire       doing      the same with TLS
    randomness     doing      random bytes, bought in bulk
    fairness       doing      turns for those that have long work
    sentry         doing      all deadlines, clients that left, streams that are silent
    gate           deciding   how many requests may wait for an upstream's first word
    upstream       doing      kept connections to the models
    upload         doing      a body that is passed on as it comes
    questions      doing      what the supervisor is asked and answers later
    call           doing      one request and the ways to answer its client
    shares         deciding   which worker takes the next connection
    waking         doing      many tasks, a few at a time
    telling        doing      how far it is, to all who wait
    asking         doing      request up, and the head of its answer
    relay*         doing      answer down
    ws_*           doing      a WebSocket, both ways
    service        doing      what answering takes
    opening        doing      what a request wants
    holding        doing      waits: for a model, or some time
    serving        doing      name, lease, relay, errors
    front          doing      one client connection: which door?
    listen         doing      accepts connections
    page_door      doing      Hypercorn, for all that is no model request
    late_pages     doing      the same, imported when somebody first comes
    http2_door     doing      streams of HTTP/2 as connections of their own
    edge           doing      what goes wrong on a connection ends at most that
    pages          doing      the Quart app
    link           doing      the line to the supervisor
    app, __main__  wiring

This package never imports `supervisor`.
"""
