"""Answers HTTP. Starts no process; asks the supervisor for the model that a request names.

A worker promises a client exactly one of: the whole answer, an error in the shape of its API, or
an unclean close. Layout, lowest first; a file imports only from those above it:

    errors         what cannot be answered, and what the client is told
    head           deciding   head of a request; the rules against smuggling
    chunked        deciding   chunked body of a request -> bytes
    paths          deciding   path -> form of the answer
    naming         deciding   body -> name of the model -> its route
    headers        deciding   header fields up and down; head of an upstream's answer
    sse            deciding   where a frame ends; whether a stream is whole; error frames
    modes          deciding   how a waiting client is told of progress
    waiting        deciding   what it is sent, and when
    leases         deciding   what may be done without asking; who waits
    progress_view  deciding   how all models stand
    wire           doing      one socket, as thin as it goes
    sentry         doing      all deadlines, and clients that left
    upstream       doing      kept connections to the models
    call           doing      one request and the ways to answer its client
    relay          doing      request up, answer down
    serving        doing      name, lease, relay, errors
    front          doing      one client connection: which door?
    listen         doing      accepts connections
    page_door      doing      Hypercorn, for all that is no model request
    asgi_door      doing      model requests that come over HTTP/2
    pages          doing      the Quart app
    link           doing      the line to the supervisor
    app, __main__  wiring

This package never imports `supervisor`.
"""
