"""What the engine remembers of models and waiters.

Lowest first:

    backoff      Restart delays.
    rules        Settings of the engine that an operator may change.
    lifecycle    State table of a model process.
    model_state  Per-model and per-waiter state.
    model_table  All models, and which of them have a process.
    wait_list    Waiters, in order of arrival.
"""
