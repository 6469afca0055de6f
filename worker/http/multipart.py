"""Body of a form -> the model that it names, and whether it wants a stream.

Forms hold files of any size, so one of several parts is read as it goes by and nothing of it is
kept but the two fields that matter here. It goes upstream byte for byte, apart from the name.

What two readers could understand differently is refused: the model's server may not find another
model in a form than the one whose turn it is.

Sources: RFC 7578 (the form), RFC 2046, section 5.1.1 (its parts), RFC 2045, section 5.1 (how
parameters are written); for forms in the way of a query, the WHATWG's URL standard, section 5.1.
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from ..errors import BadRequest

# RFC 2046, 5.1.1, has 70 bytes and fewer characters; llama-server takes these as well, and there
# are clients that have them.
_MAX_BOUNDARY_BYTES: Final = 256
_BOUNDARY: Final = re.compile(rb"[ -~]*[!-~]")

# Bytes before the first boundary, which belong to nobody (RFC 2046, 5.1.1).
MAX_PREAMBLE_BYTES: Final = 64 * 1024

# Bytes of the head of one part, its blank line included: a disposition and a type.
MAX_PART_HEAD_BYTES: Final = 16 * 1024

# Bytes of the value of a field that is read.
MAX_VALUE_BYTES: Final = 4 * 1024

# Fields and files of one form. An honest one has a dozen.
MAX_PARTS: Final = 1000

_PARAMETER: Final = re.compile(
    rb'[ \t]*;[ \t]*(?:([^\s;="]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s;"]+))?', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


class FieldFound(NamedTuple):
    """A field of a form.

    Attributes:
        value: As text.
        start: Index of its first byte in the body, as it is written there.
        end: Index after its last byte.
    """

    value: str
    start: int
    end: int


class _State(Enum):
    START = auto()  # the first boundary is due
    BOUNDARY = auto()  # after a boundary: another part, or the end
    HEAD = auto()
    DATA = auto()
    END = auto()  # whatever follows belongs to nobody


class FormFinder:
    """Reads a body of several parts, cut anywhere.

    Args:
        content_type: Value of Content-Type; ``multipart/form-data`` and its boundary.
        max_parts: A form of more is refused.

    Attributes:
        model: The field `model`, once it has been read as a whole.
        stream: The field `stream` has been read, and says yes.
        complete: The last boundary has been read.

    Raises:
        BadRequest: It has no boundary that can be one.
    """

    __slots__ = (
        "_delimiter",
        "_max_parts",
        "_name",
        "_offset",
        "_parts",
        "_pending",
        "_position",
        "_state",
        "complete",
        "model",
        "stream",
    )

    def __init__(self, content_type: bytes, max_parts: int = MAX_PARTS) -> None:
        self._max_parts = max_parts
        self._delimiter = b"\r\n--" + _boundary_of(content_type)
        self._pending = b"\r\n"  # which belongs to a boundary, and is missing before the first
        self._position = 0  # in what is pending: what is before was taken
        self._offset = -2  # index in the body of the byte there
        self._state = _State.START
        self._name = b""  # of the part whose data is due, if it is one of those that are read
        self._parts = 0
        self.model: FieldFound | None = None
        self.stream = False
        self.complete = False

    def push(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadRequest: They are no such form, are beyond a limit, or name two models.
        """
        if self._state is _State.END:
            return
        self._pending = self._pending + data if self._pending else data
        while self._step():
            pass
        self._pending = self._pending[self._position :]
        self._position = 0

    def _step(self) -> bool:
        """Take what comes next; False if more bytes are needed for that."""
        match self._state:
            case _State.START:
                return self._take_start()
            case _State.BOUNDARY:
                return self._take_boundary()
            case _State.HEAD:
                return self._take_head()
            case _State.DATA:
                return self._take_data()
            case _State.END:
                return False

    def _drop(self, count: int) -> None:
        self._offset += count
        self._position += count

    @property
    def _left(self) -> int:
        """Bytes that are pending."""
        return len(self._pending) - self._position

    def _take_start(self) -> bool:
        boundary = self._delimiter[2:]
        found = self._pending.find(boundary, self._position)
        if found < 0:
            if self._left - 2 > MAX_PREAMBLE_BYTES:
                raise BadRequest("cannot read the form: it does not begin with its boundary")
            return False
        if self._pending[found - 2 : found] != b"\r\n":
            # readers differ in whether a boundary begins there
            raise BadRequest("cannot read the form: its first boundary does not begin a line")
        self._drop(found + len(boundary) - self._position)
        self._state = _State.BOUNDARY
        return True

    def _take_boundary(self) -> bool:
        after = self._pending[self._position : self._position + 2]
        if after == b"\r\n":  # stays: the head may be empty
            self._state = _State.HEAD
            return True
        if after == b"--":
            self._state = _State.END
            self._drop(self._left)
            self.complete = True
            return False
        if after in {b"", b"\r", b"-"}:
            return False
        raise BadRequest("cannot read the form: there is something behind a boundary")

    def _take_head(self) -> bool:
        start = self._position
        end = self._pending.find(b"\r\n\r\n", start, start + MAX_PART_HEAD_BYTES + 2) + 4
        if end < 4:
            if self._left >= MAX_PART_HEAD_BYTES + 2:
                raise BadRequest("cannot read the form: the head of a part is too long")
            return False
        self._parts += 1
        if self._parts > self._max_parts:
            raise BadRequest(f"cannot take a form of more than {self._max_parts} parts")
        name = _field_name(self._pending[start + 2 : end - 2])
        self._name = name if name in {b"model", b"stream"} else b""
        self._drop(end - start)
        self._state = _State.DATA
        return True

    def _take_data(self) -> bool:
        delimiter = self._delimiter
        start = self._position
        end = self._pending.find(delimiter, start)
        length = end - start if end >= 0 else self._left - len(delimiter) + 1  # at the least
        if not self._name:
            self._drop(length + len(delimiter) if end >= 0 else max(0, length))
        elif length > MAX_VALUE_BYTES:
            raise BadRequest(f"cannot take a field '{self._name.decode()}' of that length")
        elif end >= 0:
            self._take_value(self._pending[start:end])
            self._drop(length + len(delimiter))
        if end >= 0:
            self._state = _State.BOUNDARY
        return end >= 0

    def _take_value(self, value: bytes) -> None:
        if self._name == b"stream":
            self.stream = _is_true(value)
            return
        if self.model is not None:
            raise BadRequest("cannot tell which model is meant: the form has two fields 'model'")
        self.model = FieldFound(_text(value), self._offset, self._offset + len(value))


def _text(value: bytes) -> str:
    try:
        name = value.decode()
    except UnicodeDecodeError:
        raise BadRequest("cannot read the field 'model': it is no UTF-8") from None
    if not name:
        raise BadRequest("cannot tell which model is meant: the field 'model' is empty")
    return name


def _is_true(value: bytes) -> bool:
    return value.strip().lower() == b"true"


def _boundary_of(content_type: bytes) -> bytes:
    parameters = _parameters(content_type)
    boundary = None if parameters is None else parameters.get(b"boundary")
    if boundary is None or len(boundary) > _MAX_BOUNDARY_BYTES:
        raise BadRequest("cannot read the form: its Content-Type has no boundary, or none of use")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise BadRequest("cannot read the form: its boundary has characters that none may have")
    return boundary


def _field_name(head: bytes) -> bytes | None:
    """Return the name of the field whose part has that head; None for a file.

    Args:
        head: Lines with their line ends.
    """
    disposition: bytes | None = None
    for line in head.split(b"\r\n"):
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise BadRequest("cannot read the form: the head of a part has a bare line end")
        name, colon, value = line.partition(b":")
        if line and (not colon or not name or name.strip() != name):
            raise BadRequest("cannot read the form: a line in the head of a part makes no sense")
        if name.lower() == b"content-disposition":
            if disposition is not None:
                raise BadRequest("cannot read the form: a part says twice what it is")
            disposition = value
    if disposition is None:
        return None
    parameters = _parameters(disposition)
    if parameters is None:
        raise BadRequest("cannot read the form: what a part says of itself makes no sense")
    if b"filename" in parameters or b"filename*" in parameters:
        return None
    return parameters.get(b"name")


def _parameters(value: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters after the first word of a field; None if they cannot be read."""
    position = value.find(b";")
    if position < 0:
        return {}
    found: dict[bytes, bytes] = {}
    value = value.rstrip(b" \t")
    while position < len(value):
        match = _PARAMETER.match(value, position)
        if match is None:
            return None
        position = match.end()
        if match[1] is None:
            continue  # a semicolon too many
        name = match[1].lower()
        if name in found:
            return None
        text = match[2]
        found[name] = _ESCAPED.sub(rb"\1", text[1:-1]) if text.startswith(b'"') else text
    return found


class Fields(NamedTuple):
    """What a form says that is written like a query.

    Attributes:
        model: The field `model`, if there is one.
        stream: The field `stream` says yes.
    """

    model: FieldFound | None
    stream: bool


def read_query(data: bytes, max_parts: int = MAX_PARTS) -> Fields:
    """Read a form that is written like a query: ``model=m&stream=true``.

    Raises:
        BadRequest: It is beyond a limit, or names two models.
    """
    model: FieldFound | None = None
    stream = False
    start = 0
    if data.count(b"&") >= max_parts:
        raise BadRequest(f"cannot take a form of more than {max_parts} fields")
    while start <= len(data):
        end = data.find(b"&", start)
        end = len(data) if end < 0 else end
        equals = data.find(b"=", start, min(end, start + MAX_VALUE_BYTES + 1))
        key_end = end if equals < 0 else equals
        name = _unquote(data[start:key_end]) if key_end - start <= MAX_VALUE_BYTES else b""
        if name in {b"model", b"stream"}:
            begin = min(key_end + 1, end)
            if end - begin > MAX_VALUE_BYTES:
                raise BadRequest(f"cannot take a field '{name.decode()}' of that length")
            value = data[begin:end]
            if name == b"stream":
                stream = _is_true(_unquote(value))
            elif model is not None:
                raise BadRequest("cannot tell which model is meant: there are two fields 'model'")
            else:
                model = FieldFound(_text(_unquote(value)), begin, end)
        start = end + 1
    return Fields(model, stream)


def _unquote(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
