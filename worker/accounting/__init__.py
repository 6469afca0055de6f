"""Reads a copy of each response: tokens, finish reason, cost, record.

Lowest first:

    cost             Tokens x prices.
    usage            Collects usage.
    response_reader  Reads a copy of a response.
    record           Timeline and outcome -> `RequestRecord`.
    usage_headers    X-Gateway-* headers and trailers.
    account          All of it for one request.
"""
