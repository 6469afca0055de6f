"""HTTP/1.1 building blocks for the client side; no knowledge of models.

Lowest first:

    auth               API keys; caller identity.
    body_memory        Bytes of all bodies in memory.
    body_pace          How slowly a body may come.
    bounded_search     Looks for patterns, and gives up after a while.
    content_coding     Decompresses bodies of requests.
    chunked            Chunked coding: decode and encode.
    cors               Which pages may ask, and what browsers are told.
    header_rules       Configured header changes.
    multipart          Finds `model` and `stream` in a form.
    random_ids         Random bytes in bulk.
    request_target     Target and host of a request; the model in its query.
    request_head       Request head parser (httptools) and smuggling rules.
    route_declaration  `RouteDeclaration`: one route, as it is declared.
    admission          May this request act at all?
    tracing            Request id, W3C trace context.
"""
