"""Reads a copy of each response: tokens, finish reason, cost, record.

Lowest first:

    account          All that is known of one request.
    cost             Tokens x prices.
    usage            One usage from all that was reported.
    response_reader  Reads a copy of a response into its account.
    capture          Keeps a request and its response, if that is configured.
    access_line      A line of the log for each request, if that is configured.
    record           Account -> `RequestRecord`.
    usage_headers    X-Gateway-* headers and trailers.
"""
