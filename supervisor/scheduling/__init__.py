"""The swap engine (sans-IO) and the dispatcher that carries out its commands.

Lowest first:

    messages/   What the engine is told, and what it orders.
    states/     What it remembers of models and waiters.
    room/       Who may be there beside whom, and whose turn it is.
    attempts    Numbers of attempts, and how far each one is said to be.
    steps       A model's next state: it starts, drains, ends, sleeps, wakes.
    waiters     Who is queued, granted a lease, or refused; news of the queue.
    leases      Leases that workers hold, as they report them.
    comebacks   Models that are started again: stopped in vain, or pinned.
    blocked     Waiters of models that cannot have room.
    pursuit     Turns are taken: others go, the next one is started.
    orders      What operators order; another configuration.
    processes   What processes report, and those of an earlier supervisor.
    deadlines   What happens when nothing else does.
    view        What others may ask.
    engine      The scheduler: events in, commands out; it asks each part in turn.
    dispatcher  Feeds the engine and carries out its commands.
"""
