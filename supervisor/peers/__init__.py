"""Other machines that have models, and which of them answers a request.

Lowest first:

    choice      Which of several machines with the same model answers a request. Pure.
    circuit     Whether another machine is asked at all. Pure.
    told        What other machines tell of their models -> values. Pure.
    state       What is known of peers: lists, how models stand, circuits. Pure.
    kept_lists  The last lists of peers on disk.
    watch       Asks one peer for its models, and follows how they stand.
    keeper      Watches all peers.
    places      Machines that have the same model: which of them answers a request. Pure.
    wake        Wakes the machines of peers.
    late        Peers, once the configuration has any.
"""
