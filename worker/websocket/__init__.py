"""WebSockets: handshake, tunnel, and the Responses API turn by turn.

Lowest first:

    frames           Messages and close codes (wsproto).
    handshake        Upgrade requests.
    dial             Opens the upstream socket.
    leased_dial      The same under a lease.
    responses_turns  Its turns.
    responses_relay  Responses API, message by message.
    tunnel           Bytes both ways.
    handler          Entry point.
"""
