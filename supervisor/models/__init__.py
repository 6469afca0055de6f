"""Model servers: all starts, preload, sizes.

Lowest first:

    signs/          Signs that a model server is ready, or alive.
    start/          One start of a model server, from spawn to end.
    preload         `on_startup.preload`.
    default_models  Models that come back when it is quiet.
    learned_models  Sizes and durations of earlier runs.
    memory_watch    Looks at devices and processes; keeps sizes.
    fleet           One task per model process.
"""
