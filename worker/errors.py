"""Requests that cannot be answered: a tree by what the client is told.

Each class knows its HTTP status and the `type` and `code` of the OpenAI error object; other APIs
(`apis`) go by the status. The message is for people and may be shown to a client: it never holds a
command line, a path of this machine or a stack trace.

Which failure gets which `type` decides what agents do next: `server_error` is taken as "try
again", any other type ends the turn.
"""

import math
from typing import Final

from arriero.protocol.values import ErrorInfo

# Seconds. Clients obey this figure exactly, so it is short: the retry joins the load that goes on.
RETRY_AFTER_S = 2

# What the official clients obey, whatever the status.
_NO_RETRY: Final = (b"x-should-retry", b"false")


class ClientGone(Exception):
    """The client has left: nobody is there to be told anything."""


class RelayError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status, as long as nothing has been sent.
        kind: `type` of the error object.
        code: `code` of the error object.
        fields: Header fields that go with it.
    """

    status: int = 500
    kind: str = "server_error"
    code: str = "internal"
    fields: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, message: str, *, code: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if kind is not None:
            self.kind = kind


class MovedPermanently(RelayError):
    """The same is to be found elsewhere, for GET and HEAD."""

    status = 301
    kind = "invalid_request_error"
    code = "moved"

    def __init__(self, location: bytes) -> None:
        """Say where.

        Args:
            location: Path and query, as they stand in a request.
        """
        super().__init__(f"this is at {location.decode('latin-1')}")
        self.fields = ((b"Location", location),)


class FoundElsewhere(MovedPermanently):
    """What is asked for is shown elsewhere."""

    status = 302


class MovedForNow(MovedPermanently):
    """The same is to be found elsewhere, for all methods; where may change."""

    status = 307


class MovedWithMethod(MovedPermanently):
    """The same for methods that have to stay as they are."""

    status = 308


class BadRequest(RelayError):
    """The request makes no sense."""

    status = 400
    kind = "invalid_request_error"
    code = "bad_request"


class Unauthorized(RelayError):
    """The request shows no key, or a wrong one."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"
    fields = ((b"WWW-Authenticate", b'Basic realm="arriero"'),)


class UnknownModel(RelayError):
    """The request names a model that the configuration does not have."""

    status = 404
    kind = "invalid_request_error"
    code = "model_not_found"


class Forbidden(RelayError):
    """The request concerns what belongs to another caller."""

    status = 403
    kind = "permission_error"
    code = "forbidden"


class UnknownRequest(RelayError):
    """No request with that id is known, or not any more."""

    status = 404
    kind = "invalid_request_error"
    code = "request_not_found"


class UnknownProfile(RelayError):
    """The configuration has no profile of that name."""

    status = 404
    kind = "invalid_request_error"
    code = "profile_not_found"


class UnknownDevice(RelayError):
    """There is no device of that name, or none whose memory is counted."""

    status = 404
    kind = "invalid_request_error"
    code = "device_not_found"


class UnknownPath(RelayError):
    """Nothing is there."""

    status = 404
    kind = "invalid_request_error"
    code = "not_found"


class UnsupportedCoding(RelayError):
    """The body is compressed in a way that nobody here knows."""

    status = 415
    kind = "invalid_request_error"
    code = "unsupported_content_encoding"
    fields = ((b"Accept-Encoding", b"gzip, deflate"),)


class WrongMethod(RelayError):
    """Something is there, but not for this method."""

    status = 405
    kind = "invalid_request_error"
    code = "method_not_allowed"


class TooSlow(RelayError):
    """The request did not arrive in time."""

    status = 408
    kind = "invalid_request_error"
    code = "request_timeout"


class NotRunning(RelayError):
    """The model is not ready, and what was asked does not start it."""

    status = 409
    kind = "invalid_request_error"
    code = "model_not_running"
    fields = (_NO_RETRY,)


class NotStartedHere(RelayError):
    """The name is known, but nothing is started for it that could be stopped."""

    status = 409
    kind = "invalid_request_error"
    code = "not_started_here"
    fields = (_NO_RETRY,)


class MemoryNotCounted(RelayError):
    """Memory does not decide here which model stays, so there is nothing to order."""

    status = 409
    kind = "invalid_request_error"
    code = "memory_not_counted"
    fields = (_NO_RETRY,)


class AlreadyRuns(RelayError):
    """A request of the same caller with the same ``Idempotency-Key`` runs still.

    The official clients take 409 as "try again", unless they are told not to.

    Attributes:
        running_id: The id of that request.
    """

    status = 409
    kind = "invalid_request_error"
    code = "request_already_runs"
    fields = (_NO_RETRY,)

    def __init__(self, running_id: str) -> None:
        super().__init__(
            f"cannot run this request: '{running_id}' runs already with the same Idempotency-Key; "
            "wait for its end, cancel it, or send another key"
        )
        self.running_id = running_id


class TooLarge(RelayError):
    """The body is larger than what is read into memory."""

    status = 413
    kind = "invalid_request_error"
    code = "request_too_large"


class UnknownExpectation(RelayError):
    """The request expects something other than ``100-continue``."""

    status = 417
    kind = "invalid_request_error"
    code = "expectation_failed"


class HeadTooLarge(RelayError):
    """The head has too many bytes or too many fields."""

    status = 431
    kind = "invalid_request_error"
    code = "request_header_fields_too_large"


class RequestCancelled(RelayError):
    """Somebody asked for the end of this request before its answer had begun.

    No client repeats it by itself: the official ones take 408, 409, 429 and all from 500 on as
    "try again". Source: `_should_retry` in openai 3.54 and anthropic 2.12.
    """

    status = 499
    kind = "cancelled"
    code = "cancelled"


class LoopDetected(RelayError):
    """The request came back from a peer to which it was passed on, or was about to."""

    status = 508
    kind = "invalid_request_error"
    code = "loop_detected"
    fields = (_NO_RETRY,)


class TooManyRequests(RelayError):
    """As many requests run on the model as may, and this one was not there when it was loaded."""

    status = 429
    kind = "rate_limit_error"
    code = "concurrency_limit"

    def __init__(self, message: str, position: int) -> None:
        """Say it.

        Args:
            message: Which model, how many run, how many wait.
            position: The place in line that the request would have.
        """
        super().__init__(message)
        self.fields = ((b"Retry-After", b"1"), (b"X-Queue-Position", b"%d" % position))


class KeyExhausted(RelayError):
    """As many requests run with this key as may, or it has had what it gets in a day.

    In the second case no client should try again by itself: the official ones would, twice.
    """

    status = 429
    kind = "rate_limit_error"
    code = "key_concurrency"

    def __init__(self, info: ErrorInfo, again_s: float) -> None:
        """Say it.

        Args:
            info: Which limit, and how much of it is used.
            again_s: Seconds until it may go on.
        """
        super().__init__(info.message, code=info.code)
        self.fields = ((b"Retry-After", b"%d" % max(1, math.ceil(again_s))),)
        if info.code != KeyExhausted.code:
            self.fields = (*self.fields, _NO_RETRY)


class LoadFailed(RelayError):
    """The model will not come up: trying again would only load a broken model again.

    Without the field the official clients ask three times.
    """

    status = 500
    kind = "model_load_error"
    code = "model_load_failed"
    fields = (_NO_RETRY,)


class Unavailable(RelayError):
    """Not now; the same request may well succeed a little later."""

    status = 503
    kind = "server_error"
    code = "model_unavailable"
    fields = ((b"Retry-After", b"%d" % RETRY_AFTER_S),)


class StillLoading(Unavailable):
    """A request that is not a stream has waited as long as its client will; the load goes on."""

    code = "model_loading"


class BodyMemoryFull(Unavailable):
    """The bodies of other requests take all the memory that there is for them."""

    code = "body_memory_full"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            "cannot take this body now: the bodies of other requests leave no room for it; "
            f"together they may have {limit_bytes} bytes ('bodyMemory' in the configuration)"
        )


class UpstreamDied(RelayError):
    """The model's server went away before its answer was complete."""

    status = 502
    kind = "upstream_error"
    code = "upstream_disconnected"


class UpstreamTruncated(UpstreamDied):
    """The model's server ended its stream in good order, but without the end of the answer."""

    code = "upstream_truncated"


class UpstreamSilent(RelayError):
    """The model's server said nothing for too long."""

    status = 504
    kind = "upstream_error"
    code = "upstream_timeout"


class UpstreamHung(RelayError):
    """The model's server showed no sign of life, and was killed."""

    status = 504
    kind = "upstream_error"
    code = "upstream_hung"


class UpstreamAnsweredError(RelayError):
    """The model's server answered with an error, but the stream was already under way.

    Attributes:
        upstream_status: HTTP status of that answer.
    """

    status = 502
    kind = "upstream_error"

    def __init__(
        self, message: str, *, upstream_status: int, kind: str = "upstream_error", code: str
    ) -> None:
        super().__init__(message, kind=kind, code=code)
        self.upstream_status = upstream_status


class UpstreamRefused(UpstreamAnsweredError):
    """The same before anything was sent: its status is the answer's."""

    def __init__(
        self, message: str, *, upstream_status: int, kind: str = "upstream_error", code: str
    ) -> None:
        super().__init__(message, upstream_status=upstream_status, kind=kind, code=code)
        self.status = upstream_status if 400 <= upstream_status <= 599 else 502


def from_verdict(info: ErrorInfo) -> RelayError:
    """Return what a client is told whose running request the supervisor has ended."""
    if info.code == "model_hung":
        return UpstreamHung(info.message)
    return Unavailable(info.message, code=info.code)


def from_supervisor(model: str, info: ErrorInfo) -> RelayError:
    """Return what a client is told when the supervisor refused `model` because of `info`."""
    if info.code == "unknown_model":
        return UnknownModel(info.message)
    if info.code == "concurrency_limit":
        return TooManyRequests(info.message, info.position)
    if info.transient:
        code = "supervisor_lost" if info.code == "supervisor_lost" else None
        return Unavailable(info.message, code=code)
    code = info.code if info.code == "model_load_timeout" else None
    message = info.message
    if not message.startswith(f"model {model} failed to load"):
        message = f"model {model} failed to load: {message}"
    return LoadFailed(message, code=code)
