"""HTTP/2 for clients: each stream is served as an HTTP/1.1 connection of its own.

Lowest first:

    frames      Where frames end, and what they cost.
    heads       HTTP/2 <-> HTTP/1.1 heads.
    connection  Serves streams as connections of their own.
"""
