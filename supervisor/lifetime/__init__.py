"""Beginning and end of a supervisor, and what the next one is left.

Lowest first:

    order            What the command line orders: which configuration, and what wins over it.
    inheritance      Processes and memory that an earlier supervisor has left.
    listeners        The sockets on which clients are accepted.
    standing_orders  What operators have ordered at run time, for the next supervisor.
    startup_message  Message of `serve` on a terminal.
    restart          The next supervisor, in the process of this one.
    shutdown         Signals, and how long requests are waited for.
"""
