"""What all requests and replies of the control socket have."""

import msgspec

from ..values import VERSION, ErrorInfo


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True, tag_field="cmd"):
    """Base of all requests."""

    v: int = VERSION


class ControlReply(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""

    v: int = VERSION
    ok: bool = True


class Done(ControlReply, frozen=True, kw_only=True):
    """It was done, or has begun."""


class Refusal(ControlReply, frozen=True, kw_only=True):
    """The request was not carried out; `error` has the reason.

    Attributes:
        error: Why.
        problems: Mistakes of a configuration, with file, line and column.
    """

    error: ErrorInfo
    problems: tuple[str, ...] = ()
    ok: bool = False


def refused(code: str, message: str, problems: tuple[str, ...] = ()) -> Refusal:
    """Return a refusal; see `ErrorInfo` for `code` and `message`."""
    return Refusal(error=ErrorInfo(code=code, message=message), problems=problems)
