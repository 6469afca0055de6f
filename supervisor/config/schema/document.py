"""The configuration as a JSON schema, for editors; and all its keys.

Both come from the definitions by which a configuration is read.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .reader import Key
from .top_keys import TOP_KEYS
from .types import section

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
        **section(TOP_KEYS).schema,
        "patternProperties": {_ANCHORS: {"description": "Anchors, for use elsewhere."}},
    }


def schema_text() -> str:
    """Return the JSON schema as the text of a file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def every_key(
    keys: Sequence[Key[Any]] = TOP_KEYS, prefix: str = ""
) -> Iterator[tuple[str, Key[Any]]]:
    """Give each key with its dotted path, those that hold others before what they hold.

    Names of the user's choice are written ``<id>``: ``models.<id>.filters.setParams``.

    Args:
        keys: The keys of one mapping.
        prefix: The path of that mapping, with a dot at its end.
    """
    for key in keys:
        path = f"{prefix}{key.name}"
        yield path, key
        kind = key.kind
        while kind.each is not None:
            kind = kind.each
            path = f"{path}.<id>"
        yield from every_key(kind.keys, f"{path}.")
