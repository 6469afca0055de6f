"""Short members of a request, and what they are called in a chat.

Source: Ollama's API reference ("Generate a completion", "Generate a chat completion") and that of
its Modelfile ("Valid Parameters and Values"); llama-server's README.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader

from ...errors import BadRequest

NOT_SAID: Final = msgspec.Raw(b"")

# Options that say how an answer is written, and their names in a chat. All others say how a model
# is loaded (`num_ctx`, `num_gpu`, ...): that is the configuration's.
_OPTIONS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_last_n": "repeat_last_n",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
    "num_keep": "n_keep",
    "seed": "seed",
    "stop": "stop",
}

_EFFORTS: Final = frozenset({"low", "medium", "high", "max"})


class RequestFields(msgspec.Struct, frozen=True):
    """The short members of a request, in all of the routes.

    Attributes:
        name: What `model` was called before.
        context: Tokens of an earlier answer.
    """

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    raw: bool | None = None
    think: bool | str | None = None
    keep_alive: msgspec.Raw = NOT_SAID
    options: dict[str, msgspec.Raw] | None = None
    format: msgspec.Raw = NOT_SAID
    suffix: str | None = None
    template: str | None = None
    context: list[int] | None = None


_fields: Final = JsonReader(RequestFields)
_count: Final = JsonReader(int)


def read_fields(body: bytes) -> RequestFields:
    """Return the short members of a body.

    Raises:
        BadRequest: It is no JSON object, or one of them has the wrong type.
    """
    try:
        return _fields.read(body)
    except BadJson as exc:
        raise BadRequest(f"cannot read the body as JSON: {exc}") from exc


def option_members(options: Mapping[str, msgspec.Raw]) -> Iterator[bytes]:
    """Give the members that `options` are upstream, each after a comma; null is nothing.

    Raises:
        BadRequest: `num_predict` is no number.
    """
    for name, value in options.items():
        written = bytes(value)
        if written == b"null":
            continue
        if name == "num_predict":
            count = _count.find(written)
            if count is None:
                raise BadRequest("cannot use 'num_predict' of 'options': it is a whole number")
            if count > 0:  # what is negative is without a limit
                yield b',"max_tokens":%d' % count
        elif name in _OPTIONS:
            yield b',"%b":%b' % (_OPTIONS[name].encode(), written)


def thinking_members(think: bool | str | None) -> bytes:
    """Return the members that say whether, or how much, a model is to think.

    Raises:
        BadRequest: It is a word that means nothing.
    """
    if think is None:
        return b""
    if isinstance(think, bool):
        return b',"chat_template_kwargs":{"enable_thinking":%b}' % (b"true" if think else b"false")
    if think not in _EFFORTS:
        raise BadRequest(
            "cannot tell how much to think: 'think' is true, false, "
            + ", ".join(f'"{word}"' for word in sorted(_EFFORTS))
        )
    word = think.encode()
    return b',"reasoning_effort":"%b","chat_template_kwargs":{"reasoning_effort":"%b"}' % (
        word,
        word,
    )


def format_member(written: bytes) -> bytes:
    """Return the member that says in which format to answer.

    Args:
        written: The JSON text of `format`: ``"json"``, a schema, or nothing.

    Raises:
        BadRequest: It is something else.
    """
    if written in {b"", b"null", b'""'}:
        return b""
    if written == b'"json"':
        return b',"response_format":{"type":"json_object"}'
    if written.startswith(b"{"):
        schema = b'{"name":"answer","strict":true,"schema":%b}' % written
        return b',"response_format":{"type":"json_schema","json_schema":%b}' % schema
    raise BadRequest("cannot answer in this 'format': it is \"json\", or a JSON schema")
