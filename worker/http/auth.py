"""Which key a client shows, and what it is good for.

Source of the rules: llama-swap, whose clients are to work unchanged. The key of a client is looked
for as the password of `Authorization: Basic`, then as `Authorization: Bearer`, then in `x-api-key`,
in `api-key`, where Azure's clients put it, and in `x-goog-api-key`; in paths of Gemini's also in
the query, as its older clients have it. With keys configured it never goes upstream.

Keys are compared by their SHA-256. A dictionary takes no longer for a hash that is nearly right:
who could make use of the time would have to choose hashes, and not keys. A fast hash is enough for
what cannot be guessed: `arriero key new` makes keys of 256 random bits. A slow one (argon2, bcrypt)
is for passwords, which can, and would take each request a good part of a second.
"""

import base64
import binascii
import math
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from arriero.digests import sha256
from arriero.protocol.worker_config import SCOPES, Scope, WorkerConfig, plain_key_name

from ..errors import Unauthorized

# Enough that no two of a handful of keys collide, too few to be of use to whoever reads a log.
_CALLER_DIGITS: Final = 16

# 256 random bits are no shorter, whatever they are written in.
_LEAST_BYTES: Final = 32

_QUERY_KEY: Final = b"key"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and what he may.

    Attributes:
        ident: Stands for the key that was shown; empty without keys.
        name: Of that key; empty without keys.
        scopes: What may be done.
        models: Patterns of the names that may be used; None: all.
        is_limited: See `ClientKey`.
    """

    ident: str = ""
    name: str = ""
    scopes: frozenset[Scope] = frozenset()
    models: tuple[str, ...] | None = None
    is_limited: bool = False


ANYBODY: Final = Caller(scopes=frozenset(SCOPES))
"""Who asks where no key is needed: without any in the configuration."""

NOBODY: Final = Caller()
"""Who has shown no key although there are some: gets what is open to all."""


class KeyRing:
    """The keys of one configuration.

    Args:
        config: The configuration.

    Attributes:
        shortest: No key is shorter, in bytes, if it was made as those are that are hashed.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._callers: dict[bytes, Caller] = {}
        lengths = [len(plain.encode()) for plain in config.api_keys]
        self.shortest = min(lengths + [_LEAST_BYTES] * bool(config.client_keys), default=math.inf)
        for key in config.client_keys:
            digest = bytes.fromhex(key.sha256)
            self._callers[digest] = Caller(
                ident=_ident(digest),
                name=key.name,
                scopes=frozenset(key.scopes),
                models=key.models,
                is_limited=key.is_limited,
            )
        for place, plain in enumerate(config.api_keys, 1):
            digest = sha256(plain.encode()).digest()
            self._callers[digest] = Caller(
                ident=_ident(digest), name=plain_key_name(place), scopes=ANYBODY.scopes
            )

    def __bool__(self) -> bool:
        return bool(self._callers)

    def caller(self, fields: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Return who shows the key in these fields.

        Args:
            fields: Those that may hold a key: lower-case name and value, in the order of the head.

        Raises:
            Unauthorized: There is none, or another one.
        """
        shown = shown_key(fields)
        if shown is None:
            raise Unauthorized("an API key is needed: send it as 'Authorization: Bearer <key>'")
        found = self._callers.get(sha256(shown).digest())
        if found is None:
            raise Unauthorized("this API key is not known here")
        return found

    def has(self, value: bytes) -> bool:
        """Whether that is one of the keys."""
        return sha256(value).digest() in self._callers


NO_KEYS: Final = KeyRing(WorkerConfig(generation=0, models=()))


def _ident(digest: bytes) -> str:
    return digest.hex()[:_CALLER_DIGITS]


def shown_key(fields: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the key that a client shows; None if it shows none."""
    found: dict[str, bytes] = {}
    for name, value in fields:
        if name != b"authorization":
            found.setdefault("field", value.strip())
            continue
        scheme, _, rest = value.strip().partition(b" ")
        match scheme.lower():
            case b"basic":
                password = _password(rest.strip())
                if password is not None:
                    found.setdefault("basic", password)
            case b"bearer":
                found.setdefault("bearer", rest.strip())
            case _:
                pass
    return next((found[way] for way in ("basic", "bearer", "field") if found.get(way)), None)


def keys_in_query(target: bytes) -> list[tuple[bytes, bytes]]:
    """Return what the query says as ``key``, as fields of a head would."""
    found = []
    for part in target.partition(b"?")[2].split(b"&"):
        name, _, value = part.partition(b"=")
        if name == _QUERY_KEY and value:
            found.append((_QUERY_KEY, unquote_to_bytes(value)))
    return found


def without_key(target: bytes, key: bytes) -> bytes:
    """Return a target without `key`, if that is what its query says as ``key``."""
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    kept = [part for part in query.split(b"&") if keys_in_query(b"?" + part) != [(_QUERY_KEY, key)]]
    return b"?".join((path, b"&".join(kept))) if kept else path


def _password(encoded: bytes) -> bytes | None:
    try:
        user_and_password = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    _, colon, password = user_and_password.partition(b":")
    return password if colon else None
