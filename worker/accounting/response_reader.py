"""Reads a copy of a response into its account.

Rule 1: what goes to the client is not this file's affair; nothing is changed, nothing is raised.
Rule 2: search, do not parse. An event is parsed only if it has bytes that promise something, and
the first one, for the name of the model.
Rule 3: what nobody waits for is read later, together: a hundred pieces at once cost a third of what
they cost one by one, between all else that is done for each.
"""

from itertools import islice
from typing import Any, Final

from ..apis.base.usage import Usage
from ..json.read import light_value
from ..streams.aws_event_stream import EventStreamMessage
from ..streams.sse_events import EventReader, only_data
from ..streams.sse_frames import frames_with, last_boundary, split_frames
from .account import Account
from .usage import bounded, estimated, is_final, read_cached_field, read_usage

# Bytes of a stream that are read together.
_MAX_UNREAD_BYTES: Final = 64 * 1024

# Frames that are looked at one by one, for the first token and the first events: more of them that
# come together, and have neither, are searched.
_MOST_ONE_BY_ONE: Final = 256

# The end of a stream: the chunk with the usage, and some before it.
_LAST_BYTES: Final = 2048

# Responses of up to this size are kept until all of them is read.
_MAX_LATER_BYTES: Final = 16 * 1024


# --- what passes ---------------------------------------------------------------------------------


def read_frames(account: Account, frames: bytes, now: float) -> None:
    """Read whole events: at once up to the first token, then later."""
    if not account.has_token:
        frames = frames[read_first_frames(account, frames) :]
        if account.pieces:
            account.first_token(now)
    if not frames:
        return
    if account.unread_bytes + len(frames) > _MAX_UNREAD_BYTES:
        read_further_frames(account, _take_unread(account))
    account.unread.append(frames)
    account.unread_bytes += len(frames)


def read_message(account: Account, message: EventStreamMessage, now: float) -> None:
    """Read a message of Amazon's event stream."""
    if message.is_error:
        account.told_error = message.name or "upstream_error"
    else:
        account.pieces += account.api.count_pieces(message.payload)
        if any(hint in message.payload for hint in account.api.hints):
            _read_event(account, message.payload)
    if not account.has_token and account.pieces:
        account.first_token(now)


def read_response(account: Account, body: bytes, now: float) -> None:
    """Read a response that is no stream.

    Its client waits for the usage only. Why it ended can be read later, with that of others: it
    takes a fraction of the time then.
    """
    account.first_token(now)
    value = light_value(body)
    account.reported = read_usage(account.api, value, account.reported)
    account.usage = None
    if not isinstance(value, dict):
        return
    if len(body) <= _MAX_LATER_BYTES:
        account.unread_body = value
    else:
        _read_all_else(account, value)


def read_head_field(account: Account, name: bytes, value: bytes) -> None:
    """Read a response header; `name` in lower case."""
    cached = read_cached_field(name, value)
    if cached is not None:
        account.cached_of_head = cached


# --- what is known of it -------------------------------------------------------------------------


def usage_of(account: Account) -> Usage:
    """Return the tokens, as far as they are known."""
    if account.unread:
        read_last_frames(account, _take_unread(account))
    if account.usage is not None:
        return account.usage
    known = bounded(account.reported, account.cached_of_head)
    if is_final(known):
        account.usage = known
    return estimated(known, account.pieces, account.wasted_tokens)


def written_so_far(account: Account, most_bytes: int) -> int:
    """Return how many tokens were written, as far as is known, in the middle of a response.

    Args:
        account: Of the request.
        most_bytes: What came is read if it is no more than this.
    """
    if account.unread_bytes and account.unread_bytes <= most_bytes:
        read_further_frames(account, _take_unread(account))
    return estimated(
        bounded(account.reported, account.cached_of_head), account.pieces
    ).output_tokens


def read_rest(account: Account) -> Usage:
    """Read all that has come, and return the tokens."""
    if account.unread_body is not None:
        body, account.unread_body = account.unread_body, None
        _read_all_else(account, body)
    return usage_of(account)


# --- in pieces -----------------------------------------------------------------------------------


def read_first_frames(account: Account, frames: bytes) -> int:
    """Read whole server-sent events up to the first piece of the response.

    Returns:
        Index after the last one that was read.
    """
    end = 0
    for frame in islice(split_frames(frames), _MOST_ONE_BY_ONE):
        if account.pieces:
            break
        end += len(frame)
        account.pieces += account.api.count_pieces(frame)
        if account.first_events or any(hint in frame for hint in account.api.hints):
            _read_events(account, frame)
    return end


def read_last_frames(account: Account, frames: bytes) -> None:
    """Read the whole server-sent events with which a response ends.

    The last few say all, if they say how it ended and what it used.
    """
    tail = last_boundary(frames, 0, max(0, len(frames) - _LAST_BYTES))
    if tail and not account.first_events:
        for frame in frames_with(frames, account.api.hints, tail):
            _read_events(account, frame)
        if is_final(account.reported) and account.finish_reason is not None:
            return
    read_further_frames(account, frames)


def read_further_frames(account: Account, frames: bytes) -> None:
    """Read whole server-sent events."""
    start = 0
    for frame in islice(split_frames(frames), _MOST_ONE_BY_ONE):
        if not account.first_events:
            break
        start += len(frame)
        _read_events(account, frame)
    for frame in frames_with(frames, account.api.hints, start):
        _read_events(account, frame)
    if not (account.pieces and is_final(account.reported)):
        account.pieces += account.api.count_pieces(frames)


def _take_unread(account: Account) -> bytes:
    frames = b"".join(account.unread)
    account.unread.clear()
    account.unread_bytes = 0
    return frames


def _read_events(account: Account, frames: bytes) -> None:
    data = only_data(frames)
    if data is not None:
        _read_event(account, data)
        return
    if b"data" not in frames:  # comments and blank lines, perhaps sixty thousand of them
        return
    for event in EventReader().push(frames):
        _read_event(account, event.data)


def _read_event(account: Account, data: bytes) -> None:
    account.first_events = max(0, account.first_events - 1)
    value = light_value(data)
    account.reported = read_usage(account.api, value, account.reported)
    account.usage = None
    if isinstance(value, dict):
        _read_all_else(account, value)


def _read_all_else(account: Account, value: dict[str, Any]) -> None:
    """Read all but the usage."""
    account.finish_reason = account.api.finish_reason(value) or account.finish_reason
    account.told_error = account.api.error_code(value) or account.told_error
    model = account.api.model_name(value)
    if model is not None:
        account.served_as = model
        account.first_events = 0
