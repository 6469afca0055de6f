"""One request/response exchange, from client bytes to client bytes.

Lowest first:

    frame_pipeline      Account, prefill, filter per frame.
    upload              Bodies passed on as they come.
    exchange            One request and how its client is answered.
    progress_broadcast  Tells all who wait how far it is.
    context             What handling a request needs.
    prepare             Head and body -> `Call`.
    upstream_request    Send the request, read the head.
    stream_response     SSE responses.
    response            Non-stream responses.
    wait_for_model      Wait for a lease; pauses.
    handler             Request -> lease -> upstream -> response; errors.
"""
