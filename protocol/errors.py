"""Errors of messages, by who made the mistake."""


class ProtocolError(Exception):
    """A message cannot be sent or read."""


class LocalProtocolError(ProtocolError):
    """This side made a message that is not valid: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The other side sent a message that cannot be read.

    Nothing has changed because of it.
    """


class TransportError(ProtocolError):
    """A socket cannot be opened, or is not as private as it has to be."""


class PeerGone(TransportError):
    """The recipient of a message has closed its connection."""
