"""What the keys of models and peers take: names, commands, URLs, filters."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import ProgressMode, Strictness, UsageSetting

from ...text.addresses import MAX_UNIX_PATH, is_base_url, is_unix_path, path_of, unix_path
from ...text.command_line import join_command, split_command, without_comments
from ..yaml.tree import Node
from .json_schema import TEXT, mapping, text_like
from .macros import (
    MACRO_NAME,
    PER_START,
    RESERVED,
    Macro,
    MacroError,
    check_declaration,
    escaped,
    overlay,
)
from .reader import Place, ValueType, Wrong
from .types import (
    ALL_STAY,
    OBJECT,
    PORT_AND_KEY_STAY,
    PORT_STAYS,
    Data,
    adjusted,
    choice,
    listed,
    named,
    read_text,
    text,
    unless_empty,
    words,
)

OnFailure: TypeAlias = Literal["restore", "none"]

# Longest name of a model, in characters; it stands in lines of progress and in topics of events.
MAX_NAME: Final = 200

# Never removed or set by a filter: it says where a request goes.
PROTECTED: Final = "model"


def is_name(name: str) -> bool:
    """Whether `name` can be asked for."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


NAME: Final = text(
    f"1 to {MAX_NAME} printable characters",
    is_name,
    pattern=rf"^[^\u0000-\u001f\u007f]{{1,{MAX_NAME}}}$",
)


# What is left when the lines of comment are gone is not only blanks.
_SAYS_SOMETHING: Final = r"(?:^|\n)(?![^\S\n]*#)[ \t]*[^ \t\n]"


def _read_command(node: Node, place: Place, keep: frozenset[str]) -> tuple[str, ...]:
    """Lines of comment go first: what they say of macros does not count."""
    if isinstance(node.value, str):
        bare = without_comments(node.text)
        node = node._replace(value=bare, text=bare)
    return split_command(read_text(node, place, "a command", keep=keep))


def _command(node: Node, place: Place) -> tuple[str, ...]:
    command = _read_command(node, place, PORT_AND_KEY_STAY)
    if not command:
        raise Wrong(place.problem(node, "there is no command; write how to start it"))
    return command


COMMAND: Final = ValueType(
    "a command",
    text_like(_SAYS_SOMETHING, "a command"),
    _command,
    lambda command: escaped(join_command(command), PORT_AND_KEY_STAY) if command else None,
)
STOP_COMMAND: Final[ValueType[tuple[str, ...]]] = unless_empty(
    ValueType(
        "a command",
        TEXT,
        lambda node, place: _read_command(node, place, ALL_STAY),
        lambda command: escaped(join_command(command), ALL_STAY),
    )
)


def _proxy(node: Node, place: Place, keep: frozenset[str] = PORT_STAYS) -> str:
    found = read_text(node, place, "a URL", keep=keep).strip().rstrip("/")
    if not is_base_url(found.replace("${PORT}", "1")):
        if "@" in found:  # the user and password of somebody
            raise Wrong(place.problem(node, "this is not a URL such as http://127.0.0.1:9000"))
        if "?" in found or "#" in found:  # what follows may be a token
            told = "requests have queries of their own; write a URL, such as http://127.0.0.1:9000"
            raise Wrong(place.problem(node, told))
        raise place.wrong(node, "a URL, such as http://127.0.0.1:9000")
    return found


def _proxy_or_socket(node: Node, place: Place) -> str:
    found = read_text(node, place, "a URL", keep=PORT_STAYS).strip()
    path = unix_path(found)
    if path is None:
        return _proxy(node, place)
    if not is_unix_path(path):
        raise place.wrong(node, f"unix: and a path of at most {MAX_UNIX_PATH} bytes")
    return found


_HTTP_URL: Final = r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]+[^\s?#]*\s*$"

URL: Final = ValueType(
    "a URL, or unix: and a path",
    text_like(
        rf"{_HTTP_URL}|^\s*unix:[^\s\x00-\x1f]",
        "a URL, such as http://127.0.0.1:9000, or unix: and the path of a socket",
        ["string"],
    ),
    _proxy_or_socket,
    lambda url: escaped(url, PORT_STAYS),
)

# Of a server that somebody else starts: there is no port to be chosen.
PEER_URL: Final = ValueType(
    "a URL",
    text_like(_HTTP_URL, "a URL, such as http://127.0.0.1:9000", ["string"]),
    lambda node, place: _proxy(node, place, frozenset()),
    escaped,
)


def _check(node: Node, place: Place) -> str | None:
    found = read_text(node, place, "a path", keep=PORT_STAYS).strip()
    path = found if found == "none" else path_of(found)
    if path is None:
        raise place.wrong(node, "a path such as /health, or none")
    return None if path == "none" else path


CHECK_ENDPOINT: Final = ValueType(
    "a path, or none",
    # Of a full URL only the path counts.
    text_like(
        r"^\s*(?:https?://[!-~]*|(?:[!\x22$&-~]|%[0-9A-Fa-f]{2})*)\s*$",
        "a path such as /health, or none",
    ),
    _check,
    lambda path: "none" if path is None else escaped(path, PORT_STAYS),
)


def _variable(node: Node, place: Place) -> tuple[str, str]:
    """A value is never shown in a message: it may be a secret."""
    if isinstance(node.value, list | dict):
        raise Wrong(place.problem(node, "this is not NAME=value"))
    entry = read_text(node, place, "NAME=value", keep=PORT_AND_KEY_STAY, is_secret=True)
    name, equals, value = entry.partition("=")
    if not name or not equals:
        message = "this is not NAME=value"
        raise Wrong(place.problem(node, message), f"{message}; it is ignored")
    return name, value


ENVIRONMENT: Final = listed(
    ValueType(
        "NAME=value",
        text_like("^[^=]+=", "NAME=value", ["string"]),
        _variable,
        lambda variable: escaped("=".join(variable), PORT_AND_KEY_STAY),
    ),
    "NAME=value",
)


# --- filters ------------------------------------------------------------------------------------


def _names_in_a_text(node: Node, place: Place) -> tuple[str, ...]:
    found = {word.strip() for word in read_text(node, place).split(",")}
    return tuple(sorted(found - {"", PROTECTED}))


def _by_name(params: Mapping[str, Data]) -> Mapping[str, Data]:
    """Return `params` by sorted names, in which order they are set, without what stays."""
    found = {name: value for name, value in sorted(params.items()) if name != PROTECTED}
    return MappingProxyType(found)


STRIP_PARAMS: Final[ValueType[tuple[str, ...]]] = ValueType(
    "names with commas between them",
    TEXT,
    _names_in_a_text,
    lambda names: escaped(",".join(names)),
)
SET_PARAMS: Final = adjusted(OBJECT, _by_name)
SET_PARAMS_BY_ID: Final = named(SET_PARAMS, "a mapping of names to mappings", expand_names=True)

# --- words --------------------------------------------------------------------------------------

MODE: Final[ValueType[ProgressMode]] = choice(
    {mode: mode for mode in get_args(ProgressMode)}, {"false": "off", "no": "off"}
)
STRICT: Final[ValueType[Strictness]] = choice(
    {"false": "off", "true": "on", "force": "force"},
    {"off": "off", "no": "off", "on": "on", "yes": "on"},
)
UPSTREAM: Final[ValueType[UpstreamKind]] = words(
    *(kind for kind in get_args(UpstreamKind) if kind != "unknown")
)
USAGE: Final[ValueType[UsageSetting]] = words(*get_args(UsageSetting))
ON_FAILURE: Final[ValueType[OnFailure]] = words(*get_args(OnFailure))

# --- macros -------------------------------------------------------------------------------------


def _macros(node: Node, place: Place) -> tuple[Macro, ...]:
    """Return the macros of `place`, and over them those that `node` declares."""
    if not isinstance(node.value, dict):
        place.note(node, "write a mapping of names to values")
        return place.macros
    own: list[Macro] = []
    for name, key, value in node.items():
        at = place.under(name)
        if name in RESERVED:
            at.note(key, "this name is taken: it is filled in by arriero")
            continue
        macro = Macro(name, None)
        if not MACRO_NAME.fullmatch(name):
            at.note(key, "write a name of 1 to 63 letters, digits, _ or -")
        elif isinstance(value.value, list | dict) or value.value is None:
            at.note(value, "write a text, a number or a truth value")
        else:
            macro = Macro.declared(name, value)
        own.append(macro)
    return _checked(overlay(place.macros, own), {macro.name for macro in own}, node, place)


def _checked(
    macros: tuple[Macro, ...], own: set[str], node: Node, place: Place
) -> tuple[Macro, ...]:
    """Return `macros` with those of `own` that use what there is not marked as broken."""
    checked: list[Macro] = []
    before = {PER_START} - {macro.name for macro in macros}
    for macro in macros:
        value = node.member(macro.name) if macro.name in own else None
        good = macro
        if value is not None:
            try:
                check_declaration(macro.name, value, before, place.reading.environ)
            except MacroError as exc:
                place.under(macro.name).note(value, str(exc))
                good = Macro(macro.name, None)
        checked.append(good)
        before.add(macro.name)
    return tuple(checked)


MACROS: Final = ValueType(
    "a mapping of names to values",
    mapping(TEXT, names="^(?!(?:PORT|PID|MODEL_ID)$)[a-zA-Z0-9_-]{1,63}$"),
    _macros,
)


def macros_of(owner: Node, place: Place) -> tuple[Macro, ...]:
    """Return the macros that hold under `owner`: those of `place`, and its own `macros`."""
    node = owner.member("macros")
    if node is None or node.value is None:
        return place.macros
    return MACROS.read(node, place.under("macros"))
