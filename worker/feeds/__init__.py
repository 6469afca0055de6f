"""What those get who follow logs and events: bounded, whoever reads slowly.

Lowest first:

    line_reader   Lines on their way to one reader.
    inflight      The requests that run, of all workers.
    feed_reader   What one reader of events gets next.
    live_state    How all of it stands, for those who watch it.
    hub           Who follows what.
"""
