"""Prices of models: the price list, patterns, and the feed that refreshes it.

Lowest first:

    fetch       One file, through redirects.
    price_list  models.dev price list -> prices.
    by_pattern  Prices by glob; which price applies to a model.
    feed        Keeps the downloaded list fresh.
"""
