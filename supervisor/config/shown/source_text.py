"""A file of a configuration as it is shown: every line in its place, without secrets. Pure.

What is shown is what is known to be harmless: a value under a key that is declared, and not as a
secret; commands and URLs without what `redact` hides; environments and headers by their names;
macros that end in nothing of this. Comments are not shown at all: keys that were commented out are
keys. Of what cannot be read as YAML, names of declared keys are left.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import yaml

from ...text.redact import HIDDEN
from ..schema.reader import Key, ValueType
from ..values import CONFIG
from ..yaml.braces import Braces
from ..yaml.tree import MAX_BYTES, MAX_VALUES
from .secrets import Secrets, is_reference, names_secret, pieces_of_command, pieces_of_text

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_How: TypeAlias = Literal["open", "hidden", "command", "variables", "headers", "macros"]

_COMMENT: Final = "# …"
_CUT: Final = "…"

# Between values there is nothing but signs, anchors, aliases, tags, and comments.
_GAP: Final = re.compile(r"#[^\n]*|[&*!][^\s,\[\]{}]*|[\s\-:,\[\]{}?|>\"'%.]|[^\n]")
_LINE_BEGIN: Final = re.compile(r"(\s*(?:- +)*)([A-Za-z][\w.-]*)(\s*:)")

# URLs that may be secret as a whole: addresses of feeds often are.
_WHOLE_URLS: Final = frozenset({"url", "endpoint"})


class _Rule(NamedTuple):
    """How what stands at some place is shown.

    Attributes:
        how: How single values are.
        keys: Of a mapping with fixed keys: those that are known. What has another name is hidden.
        each: What each member of a list, or of a mapping with free names, is.
    """

    how: _How
    keys: "Mapping[str, Key] | None" = None
    each: "_Rule | None" = None


_OPEN: Final = _Rule("open")
_HIDDEN: Final = _Rule("hidden")


@cache
def _top() -> _Rule:
    return _Rule("hidden", {name: key for key in CONFIG.keys for name in key.spellings})


@cache
def _all_names() -> frozenset[str]:
    """Return the names of all keys that are declared, wherever they stand."""

    def names(keys: tuple[Key, ...]) -> Iterator[str]:
        for key in keys:
            yield from key.spellings
            type_: ValueType[Any] | None = key.type
            while type_ is not None:
                yield from names(type_.keys)
                type_ = type_.each

    return frozenset(names(CONFIG.keys))


@cache
def _rule_of(key: Key) -> _Rule:
    match key.name:
        case "cmd" | "cmdStop":
            return _Rule("command")
        case "env":
            return _Rule("variables")
        case "macros":
            return _Rule("macros")
        case "request" | "response" | "headers" if key.is_secret:
            return _Rule("headers")
        case name if key.is_secret or name in _WHOLE_URLS:
            return _HIDDEN
    return _rule_of_type(key.type)


def _rule_of_type(type_: ValueType[Any]) -> _Rule:
    if type_.keys:
        return _Rule("open", {name: key for key in type_.keys for name in key.spellings})
    if type_.each is not None:
        return _Rule("open", None, _rule_of_type(type_.each))
    return _OPEN


class _Level(NamedTuple):
    """A list or mapping that is being read.

    Attributes:
        rule: Of what is in it.
        is_mapping: It has keys.
    """

    rule: _Rule
    is_mapping: bool


class _Value(NamedTuple):
    """A single value, and where it stands in the text."""

    begin: int
    end: int
    text: str
    how: _How
    name: str
    is_key: bool
    is_anchored: bool


class _Reader:
    """Reads the events of a file, as far as it can be read."""

    def __init__(self, text: str) -> None:
        self.values: list[_Value] = []
        self.unread_from = len(text)
        braces = Braces(text)
        self._show: Callable[[str], str] = braces.show if braces.opening else str
        self._levels: list[_Level] = []
        self._key: str | None = None
        self._rule = _top()
        self._anchored = 0
        self._read(braces.hide(text))
        if self.unread_from < len(text):  # the line in which it ends is not read, either
            self.unread_from = text.rfind("\n", 0, self.unread_from) + 1

    def _read(self, hidden: str) -> None:
        at = 0
        try:
            loader = _Loader(hidden)
            while (event := loader.get_event()) is not None:
                self._take(event)
                if len(self.values) > MAX_VALUES:
                    self.unread_from = at
                    return
                if event.end_mark is not None:
                    at = max(at, event.end_mark.index)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            self.unread_from = at

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                rule = self._next_rule(is_mapping=is_mapping)
                self._levels.append(_Level(rule, is_mapping))
                self._key = None
                self._anchored += event.anchor is not None or self._anchored > 0
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._levels.pop()
                self._key = None
                self._anchored = max(0, self._anchored - 1)
            case yaml.ScalarEvent():
                self._take_scalar(event)
            case yaml.AliasEvent():
                self._key = None if self._key is not None else ""
            case _:
                pass

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        begin, end = event.start_mark, event.end_mark
        assert begin is not None
        assert end is not None
        text = self._show(event.value)
        level = self._levels[-1] if self._levels else None
        is_key = level is not None and level.is_mapping and self._key is None
        rule = level.rule if is_key and level is not None else self._next_rule(is_mapping=False)
        name = text if is_key else self._key or ""
        self.values.append(
            _Value(
                begin.index,
                end.index,
                text,
                "hidden" if is_key and rule == _HIDDEN else "open" if is_key else rule.how,
                name,
                is_key,
                event.anchor is not None or self._anchored > 0,
            )
        )
        self._key = text if is_key else None

    def _next_rule(self, *, is_mapping: bool) -> _Rule:
        """Return the rule of the value that comes now."""
        if not self._levels:
            return _top() if is_mapping else _HIDDEN
        level = self._levels[-1]
        rule = level.rule
        if not level.is_mapping:
            return rule.each or _Rule(rule.how)
        key = self._key or ""
        if rule.keys is not None:
            found = rule.keys.get(key)
            return _HIDDEN if found is None else _rule_of(found)
        if rule.each is not None:
            return rule.each
        return _HIDDEN if rule.how == "open" and names_secret(key) else rule


class SourceText:
    """The text of a file, as it was read."""

    def __init__(self, text: str) -> None:
        self._text = text if len(text) <= MAX_BYTES else ""
        self._reader = _Reader(self._text)
        self._used = set(re.findall(r"\$\{([^}\s]{1,100})\}", self._text))

    def learn(self, secrets: Secrets) -> None:
        """Note what is secret by where it stands: it may stand elsewhere, or in another file."""
        for value in self._reader.values:
            _learn(value, secrets)

    def shown(self, secrets: Secrets, *, is_understood: bool) -> str:
        """Return it without secrets: the same lines, with less in them.

        Args:
            secrets: What is known to be secret.
            is_understood: That is all that the file stands for. Otherwise no macro is shown, and
                nothing that has an anchor: what they are used for is not known.
        """
        text, unread = self._text, self._reader.unread_from
        pieces: list[str] = []
        at = 0
        for value in self._reader.values:
            if value.end > unread or value.begin < at:
                break
            pieces.append(_gap(text[at : value.begin]))
            raw = text[value.begin : value.end]
            is_hidden = not value.is_key and _is_unsure(value, self._used, secrets, is_understood)
            pieces.append(_in_lines(raw) if is_hidden else _shown(value, raw, secrets))
            at = value.end
        end = max(at, unread)
        pieces.append(_gap(text[at:end]))
        pieces += _skeleton(text[end:])
        return secrets.taken_out("".join(pieces))


def _is_unsure(value: _Value, used: set[str], secrets: Secrets, is_understood: bool) -> bool:
    """Whether a value may be used where it is secret."""
    if not is_understood and value.is_anchored:
        return True
    if value.how != "macros":
        return False
    is_known = is_understood and value.name in used and not names_secret(value.name)
    return not is_known or secrets.taints(value.text)


def _learn(value: _Value, secrets: Secrets) -> None:
    if value.is_key:
        return
    match value.how:
        case "hidden":
            secrets.add((value.text,))
        case "command":
            secrets.add(pieces_of_command(value.text))
        case "variables":
            name, _, said = value.text.partition("=")
            secrets.add_named(((name, said),))
        case "headers":
            secrets.add_named(((value.name, value.text),))
        case "open" | "macros":
            secrets.add(pieces_of_text(value.text))


def _shown(value: _Value, raw: str, secrets: Secrets) -> str:
    if not value.text:
        return raw if len(raw) < 3 or value.how != "hidden" else _in_lines(raw)
    if value.is_key:
        return _in_lines(raw) if value.how == "hidden" else _without(raw, value.text, (), secrets)
    match value.how:
        case "hidden" | "headers":
            return raw if is_reference(value.text) else _in_lines(raw)
        case "variables":
            name, equals, said = value.text.partition("=")
            if equals and is_reference(said):
                return raw
            is_plain = bool(equals) and name.isprintable() and "\n" not in raw
            return f"{name}={HIDDEN}" if is_plain else _in_lines(raw)
        case "command":
            raw = re.sub(r"(?m)^(\s*)#.*$", rf"\1{_COMMENT}", raw)
            return _without(raw, value.text, pieces_of_command(value.text), secrets)
        case "open" | "macros":
            found = {*pieces_of_text(value.text), *pieces_of_command(value.text)}
            return _without(raw, value.text, found, secrets)


def _without(raw: str, text: str, pieces: Collection[str], secrets: Secrets) -> str:
    """Return what stands in the file without what is secret in its value; or nothing of it.

    Where it is written otherwise than it is meant (escapes, folded lines), it cannot be found.
    """
    sought = [piece for piece in pieces if piece.strip() and not is_reference(piece)]
    is_literal = text in raw or raw[0] in "|>"
    if not is_literal and (sought or secrets.taken_out(text) != text):
        return _in_lines(raw)
    shown = raw
    for piece in sorted(sought, key=len, reverse=True):
        pattern = re.escape(piece)
        if len(piece) < 4:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        if re.search(pattern, raw) is None:
            return _in_lines(raw)
        shown = re.sub(pattern, HIDDEN, shown)
    return shown


def _in_lines(raw: str) -> str:
    """Return that something is hidden, in as many lines."""
    return HIDDEN + "\n" * raw.count("\n")


def _gap(text: str) -> str:
    def kept(found: re.Match[str]) -> str:
        sign = found[0]
        if sign.startswith("#"):
            return _COMMENT
        if len(sign) > 1 or sign.isspace() or sign in "-:,[]{}?|>\"'%.&*!":
            return sign
        return ""

    return _GAP.sub(kept, text)


def _skeleton(text: str) -> Iterator[str]:
    """Give lines that cannot be read: of each the name of its key, if it is one of ours."""
    for line in text.splitlines(keepends=True):
        end = "\n" if line.endswith("\n") else ""
        found = _LINE_BEGIN.match(line)
        if found is not None and found[2] in _all_names():
            yield f"{found[1]}{found[2]}: {_CUT}{end}"
        elif line.strip():
            yield f"{line[: len(line) - len(line.lstrip())]}{_CUT}{end}"
        else:
            yield end
