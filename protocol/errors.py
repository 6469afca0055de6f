"""Whose mistake a broken message is."""


class ProtocolError(Exception):
    """A message that cannot be said or understood."""


class LocalProtocolError(ProtocolError):
    """This side tried to say something that makes no sense: a bug here."""


class RemoteProtocolError(ProtocolError):
    """The other side said something that cannot be read. Nothing has changed because of it."""


class TransportError(ProtocolError):
    """A socket cannot be opened, or is not as private as it has to be."""


class PeerGone(TransportError):
    """Whoever a message is for has closed its connection."""
