"""What a waiting client is shown, and when.

Lowest first:

    model_view     State of all models as seen here.
    modes          off, comment, heartbeat, reasoning, event.
    prefill        Prompt-processing progress.
    status_stream  When a waiting client is told what.
    hop_progress   What another machine tells of its model, and is told.
"""
