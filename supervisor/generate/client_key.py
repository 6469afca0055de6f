"""A new key for a client, and the lines of the configuration by which it is known.

The key has 256 random bits, so that its hash tells nothing to whoever reads it, however fast hashes
are computed.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from arriero.protocol.worker_config import Scope

from ..config.schema.key_types import HASH_PREFIX
from ..config.schema.macros import escaped

# Begins each key, so that whoever finds one knows what it is: a person, or a program that looks for
# secrets in what is published.
_PREFIX: Final = "arr-"
_BYTES: Final = 32


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key.

    Attributes:
        name: How it is called.
        key: What its client shows. Nobody else has it.
        hash: What the configuration has of it.
        lines: YAML for the configuration.
    """

    name: str
    key: str
    hash: str
    lines: str


def hash_of(key: str) -> str:
    """Return the hash of a key, as the configuration has it."""
    return HASH_PREFIX + hashlib.sha256(key.encode()).hexdigest()


def new_key(
    name: str,
    *,
    scopes: Sequence[Scope] = (),
    models: Sequence[str] = (),
    concurrency: int = 0,
    daily_tokens: int = 0,
    daily_cost: Decimal = Decimal(0),
) -> NewKey:
    """Make a key.

    Args:
        name: How it is called.
        scopes: What may be done with it; none: the usual.
        models: Patterns of models; none: all.
        concurrency: Requests at a time; 0: any number.
        daily_tokens: Tokens a day; 0: any number.
        daily_cost: US dollars a day; 0: any amount.
    """
    key = _PREFIX + secrets.token_urlsafe(_BYTES)
    hashed = hash_of(key)
    lines = ["clientKeys:", f"  {_text(name)}:", f"    hash: {hashed}"]
    if scopes:
        lines.append(f"    scopes: [{', '.join(scopes)}]")
    if models:
        lines.append(f"    models: [{', '.join(_text(escaped(it)) for it in models)}]")
    if concurrency:
        lines.append(f"    concurrency: {concurrency}")
    if daily_tokens:
        lines.append(f"    dailyTokens: {daily_tokens}")
    if daily_cost:
        lines.append(f"    dailyCost: {daily_cost:f}")
    return NewKey(name=name, key=key, hash=hashed, lines="\n".join(lines) + "\n")


def _text(text: str) -> str:
    """Return a text as YAML has it, which reads JSON."""
    return json.dumps(text)
