"""The language of the supervisor, its workers, and whoever scripts them.

Lowest first; a file imports only from those above it (tests/test_layers.py):

    errors             whose mistake a broken message is
    wakefulness        whether whoever judges silence was awake itself; for both sides
    flood_log          a log that strangers cannot fill; for both sides
    log_format         what a line of the log looks like
    read_json          JSON from outside -> values; total
    values             what messages are made of: errors, progress, states, snapshots
    records            the account of one request; what models cost
    worker_config      what a worker has to know of the configuration
    events             what the supervisor publishes to anybody (XPUB)
    control            what a script asks, and what it is answered (REQ/REP)
    connection_counts  how many connections each worker has, in shared memory
    lease              what a worker and the supervisor say to each other (DEALER/ROUTER)
    codec              messages <-> bytes; total: any bytes give a message or one error
    sequence           numbers of published events: "this one follows" | "you missed some"
    transport          the only file that does I/O: zmq sockets that trio can wait for

This package imports neither `supervisor` nor `worker`.
"""
