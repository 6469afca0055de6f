"""The configuration as a JSON schema, for editors; and all its keys."""

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from .schema.reader import Key
from .values import CONFIG

_DESCRIPTION: Final = (
    "The configuration of arriero, one file of it. The program itself checks more: names that "
    "nothing has, macros, and what does not go together. "
    "It reads unknown keys of the top level if they hold anchors (&name), which a schema cannot "
    "see: here defs and x-... may hold them."
)

# Where anchors are kept; anything may stand there.
_ANCHORS: Final = "^(?:defs|x-.+)$"


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 7) of a configuration file.

    What the program reads is accepted, but for anchors under a top-level key of another name than
    `defs` or ``x-...``. Not all that is accepted can be read.
    """
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "urn:arriero:config",
        "title": "arriero's configuration",
        "description": _DESCRIPTION,
        **CONFIG.type.schema,
        "patternProperties": {_ANCHORS: {"description": "Anchors, for use elsewhere."}},
    }


def schema_text() -> str:
    """Return the JSON schema as the text of a file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def every_key(keys: Collection[Key] = CONFIG.keys, prefix: str = "") -> Iterator[tuple[str, Key]]:
    """Give each key with its dotted path, those that hold others before what they hold.

    Names of the user's choice are written ``<id>``: ``models.<id>.filters.setParams``.

    Args:
        keys: The keys of one mapping.
        prefix: The path of that mapping, with a dot at its end.
    """
    for found in keys:
        path = f"{prefix}{found.name}"
        yield path, found
        type_ = found.type
        while type_.each is not None:
            type_ = type_.each
            path = f"{path}.<id>"
        yield from every_key(type_.keys, f"{path}.")
