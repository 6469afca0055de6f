"""The language of the supervisor, its workers, and scripts.

Lowest first; a file imports only from those above it (tests/test_layers.py):

    errors             errors of messages, by who made the mistake
    wakefulness        time in which this process itself stood still; for both sides
    flood_log          a log that strangers cannot fill; for both sides
    read_json          JSON from outside -> values; total
    log_format         format of log lines; for both sides
    values             parts of messages: errors, progress, states, snapshots
    records            record of one request; prices of models
    machine            what the machine is, and samples of what it does
    worker_config      the part of the configuration that workers need
    events             what the supervisor publishes (XPUB)
    control/           requests of scripts, and replies (REQ/REP)
    lease              messages between a worker and the supervisor (DEALER/ROUTER)
    codec              messages <-> bytes; total: any bytes give a message or one error
    sequence           numbers of published events: "this one follows" | "you missed some"
    transport          the only file that does I/O: zmq sockets that trio can wait for
    remote/            between machines: TCP, with keys

This package imports neither `supervisor` nor `worker`.
"""
