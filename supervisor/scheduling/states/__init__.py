"""What the engine remembers of models and waiters.

Lowest first:

    backoff      Restart delays.
    lifecycle    State table of a model process.
    model_state  Per-model and per-waiter state.
    wait_list    Waiters, in order of arrival.
"""
