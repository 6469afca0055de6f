"""Control socket and event socket for scripts, and limits for all who connect.

Lowest first:

    commands           What each command does.
    crowding           Who has too many connections to a socket.
    connection_limits  Closes those, and the doors if need be.
    server             Control socket (REP).
    subscriptions      Who hears which events, and what is too much.
    event_publisher    Event socket (XPUB).
"""
