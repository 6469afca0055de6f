"""What models cost: the price list, patterns, and the feed that refreshes it.

Lowest first:

    http_get    Fetch one file over HTTP(S) with h11.
    price_list  models.dev price list -> prices.
    by_pattern  Prices by glob; which price applies to a model.
    feed        Keeps the downloaded list fresh.
"""
