"""Accepts connections and dispatches: HTTP/1.1 fast path, Hypercorn for pages, management API.

Lowest first:

    accept_share       Which worker takes the next connection.
    accept             Accept loop on the shared socket.
    containment        What goes wrong on a connection ends at most that.
    health             The answer to /health.
    http1              Reads requests of one connection; chooses the door.
    hypercorn_request  A request as Hypercorn gets it.
    hypercorn_bridge   Hands a connection to Hypercorn.
    unknown_paths      What is said where nothing is.
    listings           What listings say of models.
    ollama_pages       What Ollama's clients are told of models.
    activity_pages     Lists, totals, exports and captures of requests.
    management_api     Answers what is declared in `apis.management`.
    late_protocols     HTTP/2 and WebSockets, imported for the first who speaks them.
    tls_door           Decrypts connections, and lets them be served as others are.
    lazy_pages         Imports the pages when somebody first comes.
"""
