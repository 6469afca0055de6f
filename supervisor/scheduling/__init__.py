"""The swap engine (sans-IO) and the dispatcher that carries out its commands.

Lowest first:

    backoff      Restart delays.
    events       Inputs (`Event`) and outputs (`Command`) of the engine.
    lifecycle    State table of a model process.
    model_state  Per-model and per-waiter state.
    refusals     Errors for waiters.
    turns        Queue order and who may overtake.
    room         Where memory decides: who goes for whom.
    explain      `arriero explain` in words.
    wait_list    Waiters, in order of arrival.
    engine       The scheduler: events in, commands out.
    dispatcher   Feeds the engine and carries out its commands.
"""
