"""Rules for the bodies of requests: conditions, and what is changed where they hold."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ..yaml.tree import Node
from .header_types import SET_FIELDS
from .immutable import immutable
from .model_types import PROTECTED
from .reader import Place, ValueType, Wrong
from .sections import key, section
from .types import NOTHING, OBJECT, Data, listed, named, text

# What a request is read by before any rule: to change it later would contradict what was done.
_PROTECTED: Final = frozenset({PROTECTED, "stream"})

_NAME: Final = text("a name", lambda found: bool(found.strip()))
_BY_NAME: Final = named(_NAME, "a mapping of names to names")


@immutable
class RuleConfig:
    """One rule: what is changed in the bodies of requests for which all conditions hold."""

    model: str = key(
        text(),
        "",
        "For requests that use this name of a model, or mean that model; a pattern, as `qwen*`.",
        without="for any",
    )
    path: str = key(
        text(), "", "For requests to this path; a pattern, as `/v1/chat/*`.", without="for any"
    )
    headers: tuple[tuple[str, str], ...] = key(
        SET_FIELDS,
        (),
        "For requests with these header fields; the values are patterns.",
        without="for any",
        is_secret=True,
    )
    body: Mapping[str, Data] = key(
        OBJECT,
        NOTHING,
        "For bodies with these members: a text is a pattern, `*` is whatever is there, nothing (~) "
        "that none is; of a list one will do.",
        without="for any",
    )
    move: Mapping[str, str] = key(
        _BY_NAME,
        NOTHING,
        "Keys that go to another place, and where to; what is there goes.",
        without="none",
    )
    remove: tuple[str, ...] = key(
        listed(_NAME, "names"), (), "Keys that are removed, after the moving."
    )
    default: Mapping[str, Data] = key(
        OBJECT, NOTHING, "Keys that are set if they are not there, after the removing."
    )
    set: Mapping[str, Data] = key(OBJECT, NOTHING, "Keys that are set, after all of these.")


_RULE: Final = section(RuleConfig)


def _read(node: Node, place: Place) -> RuleConfig:
    rule = _RULE.read(node, place)
    named_paths = (
        ("move", [*rule.move, *rule.move.values()]),
        ("remove", rule.remove),
        ("default", rule.default),
        ("set", rule.set),
    )
    for name, paths in named_paths:
        for path in paths:
            if (first := path.partition(".")[0]) in _PROTECTED:
                place.under(name).note(
                    node.member(name), f"{first} cannot be changed by a rule; leave it out"
                )
    if not any(paths for _, paths in named_paths):
        raise Wrong(
            place.problem(node, "there is nothing to do; write set, default, remove or move")
        )
    return rule


RULES: Final[ValueType[tuple[RuleConfig, ...]]] = listed(replace(_RULE.type, read=_read), "rules")
