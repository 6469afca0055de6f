"""Keys of clients with rights and limits. The keys themselves are not there, only their hashes."""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from arriero.protocol.worker_config import SCOPES, Scope

from ..yaml.tree import Node
from .immutable import immutable
from .json_schema import text_like
from .macros import escaped
from .price_types import USD
from .reader import Place, ValueType, Wrong
from .sections import key, section
from .types import integer, listed, named, text, words

HASH_PREFIX: Final = "sha256:"

_HASH: Final = re.compile(rf"{HASH_PREFIX}[0-9a-f]{{64}}")
_HASHES: Final = "sha256: and 64 digits, as 'arriero key new' writes it"

# It stands in records and logs.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/-]{0,63}")

KEY_NAMES: Final = (
    "the name of a key is 1 to 64 letters, digits and . _ @ / -, and begins with one of the former"
)

# More than a day's work of any machine; JavaScript counts no further.
_MAX_TOKENS: Final = 2**53


def is_key_name(name: str) -> bool:
    """Whether a key may be called like that."""
    return _NAME.fullmatch(name) is not None


def _hash(node: Node, place: Place) -> str:
    """Return the digits. What else stands there may be the key itself, and is never shown."""
    found = place.scalar(node, _HASHES, is_secret=True).text.strip()
    if _HASH.fullmatch(found) is None:
        raise Wrong(
            place.problem(
                node, f"this is no hash; write {_HASHES}: the key itself belongs to its user alone"
            )
        )
    return found.removeprefix(HASH_PREFIX)


_KEY_HASH: Final = ValueType(
    "the hash of a key",
    text_like(f"^{_HASH.pattern}$", _HASHES, ["string"]),
    _hash,
    lambda found: escaped(f"{HASH_PREFIX}{found}"),
)


@immutable
class KeyConfig:
    """A key of a client, and what it is good for.

    Attributes:
        name: How it is called, in records too.
    """

    name: str
    sha256: str = key(
        _KEY_HASH,
        "",
        "SHA-256 of the key.",
        name="hash",
        lacking="there is no hash; make a key with: arriero key new",
        is_secret=True,
    )
    scopes: tuple[Scope, ...] = key(
        listed(words(*SCOPES), "scopes"),
        ("infer",),
        "What may be done with it. infer: ask models, list them, end own requests; read: see what "
        "runs and has run; admin: stop models, choose profiles, and whatever else a model's server "
        "has under /upstream. None includes another.",
    )
    models: tuple[str, ...] | None = key(
        listed(text("a pattern, such as qwen*", lambda it: bool(it.strip())), "patterns"),
        None,
        "Patterns of the names, or ids, of models that may be used; all others are not there.",
        without="all",
    )
    concurrency: int = key(
        integer(0, 1_000_000),
        0,
        "Requests that run with it at a time, in all workers; over it 429. 0: any number.",
    )
    daily_tokens: int = key(
        integer(0, _MAX_TOKENS),
        0,
        "Tokens, of prompts and answers, from midnight to midnight (UTC); after that 429 for new "
        "requests. 0: any number.",
    )
    daily_cost: Decimal | None = key(
        USD,
        None,
        "The same in US dollars, by the prices of models: what has no price costs nothing. 0: any "
        "amount.",
        without="any amount",
    )

    @property
    def is_limited(self) -> bool:
        """Whether somebody has to be asked before each request."""
        return bool(self.concurrency or self.daily_tokens or self.daily_cost)


_NAMED: Final = named(
    section(KeyConfig, named_by="name").type,
    "a mapping of names to keys",
    names=f"^{_NAME.pattern}$",
)


def _read(node: Node, place: Place) -> Mapping[str, KeyConfig]:
    found = _NAMED.read(node, place)
    owners: dict[str, str] = {}
    for name, one in found.items():
        at = place.under(name)
        here = next(written for own, written, _ in node.items() if own == name)
        if not is_key_name(name):
            at.note(here, KEY_NAMES)
        if one.sha256 and (other := owners.setdefault(one.sha256, name)) != name:
            at.note(here, f"this is the same key as {other!r}; make another one")
    return found


CLIENT_KEYS: Final = replace(_NAMED, read=_read)
