r"""Pieces of a JSON schema, as editors use them.

A schema cannot know what a macro stands for, so every text with ``${`` in it will do. It is at
least as generous as the loader, which reads more than it recommends (``" INFO "`` for ``info``).

Draft 7, because that is what the YAML language server of most editors knows. `patternErrorMessage`
and `deprecationMessage` are its own; validators do not look at them.
Source: README of yaml-language-server ("JSON Schema 7 and below"), and its jsonParser07.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

# Where something else is wanted, a text with a macro may stand for it.
MACRO: Final[Schema] = {"type": "string", "pattern": r"\$\{"}

# Any single value is a text: 8 is "8".
_SINGLE: Final = ("string", "number", "boolean")
TEXT: Final[Schema] = {"type": list(_SINGLE)}


def text_like(pattern: str, wanted: str, types: Iterable[str] = _SINGLE) -> Schema:
    """A text in which `pattern` is found. For editors' sake the macro is within the pattern.

    Args:
        pattern: A regular expression that means the same in Python and JavaScript.
        wanted: What should stand there, in words.
        types: Without numbers and truth values, if none of them would do.
    """
    return {
        "type": list(types),
        "pattern": rf"{pattern}|\$\{{",
        "patternErrorMessage": f"write {wanted}",
    }


def or_macro(*schemas: Schema) -> Schema:
    """One of `schemas`, or a macro in its place."""
    return {"anyOf": [*schemas, MACRO]}


def one_of(words: Iterable[str], also: Iterable[str], wanted: str) -> Schema:
    """One of some words, in any case, with blanks around it; true and false as truth values, too.

    Args:
        words: Those that editors offer.
        also: Those that are understood.
        wanted: What should stand there, in words.
    """
    offered = [{"true": True, "false": False}.get(word, word) for word in words]
    truths = [word == "true" for word in also if word in {"true", "false"}]
    choices = "|".join(_in_any_case(word) for word in (*words, *also))
    return {
        "anyOf": [
            {"enum": [*offered, *truths]},
            text_like(rf"^\s*(?:{choices})\s*$", wanted, ["string"]),
        ]
    }


def _in_any_case(word: str) -> str:
    """JSON schemas know no flags."""
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word.lower())


def array(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def mapping(values: Schema, names: str | None = None) -> Schema:
    """A mapping with free names, all of which match the pattern `names`."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": values}
    return schema if names is None else schema | {"propertyNames": {"pattern": names}}


def fixed(properties: Mapping[str, Schema], required: Iterable[str]) -> Schema:
    """A mapping with fixed keys."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": names} if (names := list(required)) else {})


def or_nothing(schema: Schema) -> Schema:
    """`schema`, or nothing: ``ttl:`` alone is as if it was left out."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "type" not in schema:
        return schema  # anything
    types = schema["type"]
    types = types if isinstance(types, list) else [types]
    return {**schema, "type": types if "null" in types else [*types, "null"]}


def not_empty(schema: Schema) -> Schema:
    """`schema`; if it is of lists or mappings, of those that have at least one member."""
    match schema.get("type"):
        case "array":
            return {**schema, "minItems": 1}
        case "object":
            return {**schema, "minProperties": 1}
        case _:
            return schema
