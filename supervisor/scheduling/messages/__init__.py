"""What the engine is told, and what it orders: plain immutable values.

Lowest first:

    refusals          Errors for waiters.
    events            Inputs (`Event`) and outputs (`Command`) of the engine.
    pending_commands  Commands that follow from the event at hand, and their numbers.
"""
