"""Reads a copy of each response: tokens, finish reason, cost, record.

Lowest first:

    tokens           `Usage`, `Api`.
    cost             Tokens x prices.
    finish_reason    Finish reason, error, model of each API.
    usage_by_api     Usage of each API.
    usage            Collects usage.
    response_reader  Reads a copy of a response.
    record           Timeline and outcome -> `RequestRecord`.
    usage_headers    X-Gateway-* headers and trailers.
    account          All of it for one request.
"""
