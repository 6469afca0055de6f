"""Signs that a model server is ready, or alive.

Lowest first:

    health            Polls the health endpoint.
    liveness          Liveness of a silent process.
    process_activity  Processor time and bytes of a server's processes.
    liveness_watch    Looks for these signs while models serve, all in one round.
"""
