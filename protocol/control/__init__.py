"""Requests of scripts to the control socket, and replies (REQ/REP).

Each request stands beside its reply; lowest first:

    base      What all of them have; refusals.
    running   The supervisor itself: how all stands, its workers, its end.
    models    Models, devices, logs, profiles.
    requests  Requests of clients: running ones, records, totals.
    settings  The configuration.
    measures  Metrics, and samples of the machine.
    messages  All messages: `AnyRequest`, `AnyReply`.
"""
