"""`/v1/streaming_query`: a chat stream as turn events.

Lowest first:

    request     Query -> chat request.
    events      Chat chunks -> turn events.
    dialect     Turn events as a dialect.
"""
