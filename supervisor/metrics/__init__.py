"""Numbers of what this program and its models do, for Prometheus.

Lowest first:

    declared    The metrics: names, kinds, labels, and what they tell.
    tallies     Counts from records of requests and from events. Pure.
    exposition  Metrics -> text. Pure.
    merge       What model servers tell of themselves -> one text. Pure.
    page        What is known at one moment -> all metrics. Pure.
    scrape      Asks model servers for their own metrics.
    service     Answers with all of them.
"""
