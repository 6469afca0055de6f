"""The swap engine (sans-IO) and the dispatcher that carries out its commands.

Lowest first:

    messages/   What the engine is told, and what it orders.
    states/     What it remembers of models and waiters.
    room/       Who may be there beside whom, and whose turn it is.
    engine      The scheduler: events in, commands out.
    dispatcher  Feeds the engine and carries out its commands.
"""
