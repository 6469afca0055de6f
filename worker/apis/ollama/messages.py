"""Messages of Ollama's -> messages of a chat. Steps as in `spans`.

Rule 1: one that means the same there is passed as it is, byte for byte.
Rule 2: texts and images are never decoded: where they begin and end is all that has to be known.
Rule 3: results of tools follow their calls, and say at most the tool's name: the calls get numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader

from ...errors import BadRequest
from ...json.spans import Steps, find_items, find_members

# Of one request. No context has room for more.
_MAX_MESSAGES: Final = 20_000
_MAX_IMAGES: Final = 100
_MAX_CALLS: Final = 200

# Bytes of the calls in one message.
_CALLS_BYTES: Final = 1024 * 1024

# Bytes of a member that is a word.
_WORD_BYTES: Final = 1024

# Members that a chat has with the same meaning.
_SAME: Final = frozenset({"role", "content"})

_EMPTY: Final = frozenset({b"", b"null", b'""', b"[]"})
_EMPTY_BYTES: Final = 4

Part: TypeAlias = bytes | memoryview
"""A piece of a text: long ones are not copied."""

# How a file in base64 begins.
_IMAGE_KINDS: Final = (
    (b"iVBORw0KGg", b"png"),
    (b"/9j/", b"jpeg"),
    (b"R0lGOD", b"gif"),
    (b"UklGR", b"webp"),
    (b"Qk", b"bmp"),
)
_DATA_URL: Final = b"data:image/"


class _Function(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


_calls: Final = JsonReader(list[_Call])
_word: Final = JsonReader(str)


class MessageTranslator:
    """Translates the messages of one request, in their order."""

    def __init__(self) -> None:
        self._numbered = 0
        self._open: list[tuple[str, str]] = []  # id and tool of calls without a result

    def translate(self, body: bytes, start: int) -> Steps[list[list[Part]]]:
        """Return the messages, in parts, in the list that begins at `start` of `body`.

        Raises:
            BadRequest: They are no list of messages, or too many.
        """
        if body[start : start + 1] != b"[":
            raise BadRequest("cannot read 'messages': they are a list")
        found = yield from find_items(body, start, _MAX_MESSAGES)
        if found is None:
            raise BadRequest(f"cannot take more than {_MAX_MESSAGES} messages")
        messages = []
        for number, item in enumerate(found):
            text = body[item.start : item.end]
            if not text.startswith(b"{"):
                raise BadRequest(f"cannot read message {number}: it is a JSON object")
            messages.append((yield from self._message(text)))
            yield
        return messages

    def _message(self, text: bytes) -> Steps[list[Part]]:
        members = yield from find_members(text)
        view = memoryview(text)
        found = {name: view[start:end] for name, start, end in members}
        is_result = found.get("role", b"") == b'"tool"'
        if found.keys() <= _SAME and not is_result:
            return [text]
        content: list[Part] = [found.get("content", b'""')]
        images = found.get("images", b"")
        if not is_empty(images):
            content = yield from with_images(content[0], images)
        parts = [b'{"role":', found.get("role", b'"user"'), b',"content":', *content]
        thinking = found.get("thinking", b"")
        if not is_empty(thinking):
            parts += [b',"reasoning_content":', thinking]
        calls = found.get("tool_calls", b"")
        if not is_empty(calls):
            parts += [b',"tool_calls":', (yield from self._calls(bytes(calls)))]
        if is_result:
            parts += self._result(found.get("tool_call_id", b""), found.get("tool_name", b""))
        return [*parts, b"}"]

    def _calls(self, written: bytes) -> Steps[bytes]:
        if len(written) > _CALLS_BYTES:
            raise BadRequest(f"cannot take calls of tools of more than {_CALLS_BYTES} bytes")
        if not written.startswith(b"["):
            raise BadRequest("cannot read 'tool_calls': they are a list")
        if (yield from find_items(written, 0, _MAX_CALLS)) is None:
            raise BadRequest(f"cannot take more than {_MAX_CALLS} calls of tools in a message")
        try:
            calls = _calls.read(written)
        except BadJson as exc:
            raise BadRequest(f"cannot read 'tool_calls': {exc}") from exc
        self._open = [(call.id or self._next_id(), call.function.name) for call in calls]
        return msgspec.json.encode(
            [
                {
                    "id": ident,
                    "type": "function",
                    "function": {"name": name, "arguments": _as_text(call.function.arguments)},
                }
                for call, (ident, name) in zip(calls, self._open, strict=True)
            ]
        )

    def _next_id(self) -> str:
        self._numbered += 1
        return f"call_{self._numbered}"

    def _result(self, ident: Part, tool: Part) -> Iterator[bytes]:
        """Give the members by which a result says to which call it belongs."""
        said, name = _short_text(ident), _short_text(tool)
        if not said:
            said = next((it for it, of in self._open if of == name or not name), "")
        name = name or next((of for it, of in self._open if it == said), "")
        self._open = [call for call in self._open if call[0] != said]
        if said:
            yield b',"tool_call_id":%b' % msgspec.json.encode(said)
        if name:
            yield b',"name":%b' % msgspec.json.encode(name)


def with_images(content: Part, images: Part) -> Steps[list[Part]]:
    """Return the parts of a content that has a text, and images.

    Args:
        content: The JSON text of the text.
        images: That of the list of images, each in base64.

    Raises:
        BadRequest: One of them is no image.
    """
    if images[:1] != b"[":
        raise BadRequest("cannot read 'images': they are a list of texts in base64")
    yield
    written = bytes(images)  # the one long copy
    yield
    found = yield from find_items(written, 0, _MAX_IMAGES)
    if found is None:
        raise BadRequest(f"cannot take more than {_MAX_IMAGES} images in a message")
    parts: list[Part] = []
    if not is_empty(content):
        parts += [b',{"type":"text","text":', content, b"}"]
    for number, (start, end) in enumerate(found):
        prefix = _prefix(written[start : start + 42], number)
        data = memoryview(written)[start + 1 : end - 1]
        parts += [b',{"type":"image_url","image_url":{"url":"', prefix, data, b'"}}']
        yield
    if parts:
        parts[0] = bytes(parts[0])[1:]
    return [b"[", *parts, b"]"]


def _prefix(begins: bytes, number: int) -> bytes:
    """Return what goes before an image in its URL; `begins` is the beginning of its JSON text."""
    data = begins[1:].replace(b"\\/", b"/")  # as PHP writes it
    if begins.startswith(b'"'):
        if data.startswith(_DATA_URL):
            return b""
        for magic, kind in _IMAGE_KINDS:
            if data.startswith(magic):
                return b"data:image/%b;base64," % kind
    raise BadRequest(
        f"cannot tell what image {number} is: write a PNG, JPEG, GIF, WebP or BMP in base64"
    )


def is_empty(written: Part) -> bool:
    """Whether a JSON text says nothing."""
    return len(written) <= _EMPTY_BYTES and bytes(written) in _EMPTY


def joined_messages(messages: Sequence[Sequence[Part]]) -> Iterator[Part]:
    """Give the parts of the list of all `messages`."""
    yield b"["
    for number, message in enumerate(messages):
        if number:
            yield b","
        yield from message
    yield b"]"


def _as_text(arguments: msgspec.Raw) -> str:
    """Return the arguments of a call as a chat has them: as the text of their JSON."""
    written = bytes(arguments)
    if written.startswith(b'"'):
        return _word.find(written) or "{}"
    return written.decode("utf-8", "replace")


def _short_text(written: Part) -> str:
    return (_word.find(bytes(written)) or "") if len(written) <= _WORD_BYTES else ""
