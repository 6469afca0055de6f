"""Where the program begins, and `serve`.

Lowest first:

    options   What the command line of `serve` orders.
    serving   Runs that.
    command   `serve`: its options, for click.
    entry     Where the program begins; `serve` without what has read its options.
"""
