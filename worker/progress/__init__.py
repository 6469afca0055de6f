"""What a waiting client is shown, and when; the `Dialect` interface.

Lowest first:

    dialect        `Dialect`: the frames an API has for us.
    model_view     State of all models as seen here.
    modes          off, comment, heartbeat, reasoning, event.
    prefill        Prompt-processing progress.
    status_stream  When a waiting client is told what.
"""
