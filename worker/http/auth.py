"""Which key a client shows, and whether it is one of the configuration.

Source of the rules: llama-swap, whose clients are to work unchanged. The key of a client is looked
for as the password of `Authorization: Basic`, then as `Authorization: Bearer`, then in `x-api-key`
(and in `api-key`, where Azure's clients put it). With keys configured it never goes upstream.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from ..errors import Unauthorized

# Enough that no two of a handful of keys collide, too few to be of use to whoever reads a log.
_CALLER_DIGITS: Final = 16


def check_key(keys: Iterable[bytes], fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Make sure that a request shows one of the keys.

    Args:
        keys: The keys.
        fields: Those that may hold a key: lower-case name and value, in the order of the head.

    Raises:
        Unauthorized: It shows none, or another one.
    """
    shown = shown_key(fields)
    if shown is None:
        raise Unauthorized("an API key is needed: send it as 'Authorization: Bearer <key>'")
    # Compared in full: how long it takes must not tell how much of a key was right.
    if not any(hmac.compare_digest(shown, key) for key in keys):
        raise Unauthorized("this API key is not known here")


def caller_of(fields: Iterable[tuple[bytes, bytes]]) -> str:
    """Return what stands for the key that a client shows: who asks, without the secret.

    Args:
        fields: As for `check_key`.

    Returns:
        The first 16 hexadecimal digits of its SHA-256; empty if it shows none.
    """
    shown = shown_key(fields)
    return "" if shown is None else hashlib.sha256(shown).hexdigest()[:_CALLER_DIGITS]


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


def _password(encoded: bytes) -> bytes | None:
    try:
        user_and_password = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    _, colon, password = user_and_password.partition(b":")
    return password if colon else None
