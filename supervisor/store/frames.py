"""What the supervisor and the process of its store say to each other. Pure.

A frame is a head (kind, number, length), then so many bytes. Records are in it as a worker has
encoded them, a whole message at a time: what the supervisor does for each of them is nothing.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from arriero.protocol.control.requests import (
    ActivityRequest,
    CaptureRequest,
    CapturesRequest,
    HistoryRequest,
    RowsRequest,
    SpeedsRequest,
    UsageRequest,
)

from .limits import StoreLimits

Kind: TypeAlias = Literal[
    "limits",  # what may be kept from now on, and where; the first of all frames
    "records",  # a worker's message with `number` records
    "again",  # the same; the first ones of them may have been kept already
    "capture",  # a worker's message with a capture
    "question",  # with the number of its answer
    "answer",  # to the question of that number
    "report",  # how the store stands
    "said",  # a line for the log, with its level as number
]
_KINDS: Final[tuple[Kind, ...]] = (
    "limits",
    "records",
    "again",
    "capture",
    "question",
    "answer",
    "report",
    "said",
)

StoreRequest: TypeAlias = (
    ActivityRequest
    | RowsRequest
    | SpeedsRequest
    | HistoryRequest
    | UsageRequest
    | CapturesRequest
    | CaptureRequest
)

_HEAD: Final = struct.Struct("<BQI")


class Frame(NamedTuple):
    """One frame."""

    kind: Kind
    number: int
    data: bytes


class StoreQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question.

    Attributes:
        request: What is asked.
        seq: Number of the last event whose record was told before; see `ActivityReply`.
    """

    request: StoreRequest
    seq: int = 0


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the store stands.

    Attributes:
        settled: Frames with records or captures of which it is decided what became of them, since
            the process began; in the order in which they came.
        lost: Records among them that were not kept.
        path, rows, captures, size_bytes, problem: See `StoreStatus`.
    """

    settled: int = 0
    lost: int = 0
    path: str = ""
    rows: int = 0
    captures: int = 0
    size_bytes: int = 0
    problem: str = ""


def framed(kind: Kind, number: int, data: bytes) -> bytes:
    """Return a frame as bytes."""
    return _HEAD.pack(_KINDS.index(kind), number, len(data)) + data


class FrameReader:
    """Puts frames together from bytes that come in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def read(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that are whole with `data`."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._rest, at)
            begin = at + _HEAD.size
            if len(self._rest) < begin + length:
                break
            at = begin + length
            yield Frame(_KINDS[kind], number, bytes(self._rest[begin:at]))
        del self._rest[:at]


_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_read_limits: Final = msgspec.json.Decoder(StoreLimits, dec_hook=lambda _, text: Path(text)).decode
_read_question: Final = msgspec.json.Decoder(StoreQuestion).decode
_read_report: Final = msgspec.json.Decoder(StoreReport).decode


def limits_frame(limits: StoreLimits) -> bytes:
    """Return the frame that says what may be kept."""
    return framed("limits", 0, _encode(limits))


def question_frame(number: int, question: StoreQuestion) -> bytes:
    """Return the frame of a question."""
    return framed("question", number, _encode(question))


def report_frame(report: StoreReport) -> bytes:
    """Return the frame of a report."""
    return framed("report", 0, _encode(report))


def limits_of(data: bytes) -> StoreLimits:
    """Read limits."""
    return _read_limits(data)


def question_of(data: bytes) -> StoreQuestion:
    """Read a question."""
    return _read_question(data)


def report_of(data: bytes) -> StoreReport:
    """Read a report."""
    return _read_report(data)
