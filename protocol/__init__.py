"""The language of the supervisor, its workers, and whoever scripts them.

Layout, lowest first; a file imports only from those above it:

    errors     whose mistake a broken message is
    values     what messages are made of: errors, progress, states, snapshots
    activity   the account of one request; what models cost
    routes     what a worker has to know of the configuration
    events     what the supervisor publishes to anybody (XPUB)
    control    what a script asks, and what it is answered (REQ/REP)
    shares     how many connections each worker has, in shared memory
    lease      what a worker and the supervisor say to each other (DEALER/ROUTER)
    codec      messages <-> bytes; total: any bytes give a message or one error
    sequence   numbers of published events: "this one follows" | "you missed some"
    transport  the only file that does I/O: zmq sockets that trio can wait for
    log_lines  what a line of the log looks like
    wakefulness
               whether whoever judges silence was awake itself; for both sides
    flood_log  a log that strangers cannot fill; for both sides

This package imports neither `supervisor` nor `worker`.
"""
