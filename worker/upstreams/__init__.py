"""The upstream side: connection pool, heads, peers and their auth, retries.

Lowest first:

    admission_gate  How many may wait for an upstream's first word.
    awaited_peers   Who waits for a peer that falls silent, and may go elsewhere.
    aws_sigv4       AWS Signature Version 4.
    extra_options   `include_usage`, `return_progress`.
    heads           Request and response heads, body framing.
    hops            Where a request has been, from machine to machine.
    peers           Request to a peer.
    pool            Keep-alive connections per endpoint.
    request         What is sent upstream.
    retry           Retry decisions.
    upload          Bodies passed on as they come.
"""
