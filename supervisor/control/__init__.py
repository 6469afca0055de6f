"""Control socket and event socket for scripts, and limits on connections.

Lowest first:

    commands           Carries out the commands.
    crowding           Clients with too many connections to a socket.
    connection_limits  Closes those, and the doors if need be.
    server             Control socket (REP).
    subscriptions      Topics of subscribers, within limits.
    recent_decisions   Last decisions that were published.
    event_publisher    Event socket (XPUB).
    curve_handshake    Handshakes over TCP, by the bytes that go by.
    remote_door        Connections of other machines.
    remote             Both sockets over TCP, for those who have a key.
"""
