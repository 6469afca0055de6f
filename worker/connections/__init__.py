"""Client connections below HTTP: sockets, deadlines, and turns for long work.

Lowest first:

    batched_wakeups  Wakes many tasks, a few at a time.
    read_callbacks   Calls a function whenever a socket has something to read.
    stream           Non-blocking socket: read, write, linger, reset.
    send_queue       Sends of several tasks in one turn of the loop, made together at its end.
    time_slices      Long work in steps, one in each round of the loop.
    connection       Client connections; deadlines, disconnects and heartbeats of all of them.
    tls_stream       The same over TLS.
"""
