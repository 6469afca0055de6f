"""What browsers want to hear before a page of another site may ask. Deciding; no I/O.

Every site may: what protects the models is the key, which no page has that nobody gave it one.
Cookies are never looked at, so ``*`` is right, and a site's name need not be echoed.

Source: Fetch standard, section 3.3 (CORS protocol).
"""

import re
from collections.abc import Iterable, Set
from typing import Final, TypeAlias

Field: TypeAlias = tuple[bytes, bytes]

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_DEFAULT_HEADERS: Final = b"Content-Type, Authorization, Accept, X-Requested-With"

# Seconds that a browser may remember the answer.
_MAX_AGE: Final = b"86400"

# Names that are repeated back: official browser clients send some fifteen of their own.
_MOST_HEADERS: Final = 50

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")

_ALLOW_ORIGIN: Final = (b"Access-Control-Allow-Origin", b"*")
_EXPOSE: Final = (
    b"Access-Control-Expose-Headers",
    b"X-Request-Id, X-Gateway-Cost, X-Gateway-Prompt-Tokens, X-Gateway-Completion-Tokens, "
    b"X-Gateway-Cached-Tokens, X-Gateway-Outcome, X-Swap-Progress",
)


def preflight_fields(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Return the fields of the answer to a preflight, which has the status 204.

    Args:
        fields: Of the request, with lower-case names.
    """
    asked = b",".join(value for name, value in fields if name == b"access-control-request-headers")
    names = [name for name in map(bytes.strip, asked.split(b",")) if _TOKEN.fullmatch(name)]
    return (
        _ALLOW_ORIGIN,
        (b"Access-Control-Allow-Methods", _METHODS),
        (b"Access-Control-Allow-Headers", b", ".join(names[:_MOST_HEADERS]) or _DEFAULT_HEADERS),
        (b"Access-Control-Max-Age", _MAX_AGE),
        (b"Vary", b"Origin, Access-Control-Request-Headers"),
    )


def answer_fields(origin: bytes | None, names_there: Set[bytes] = frozenset()) -> tuple[Field, ...]:
    """Return what an answer needs besides, so that a page may read it.

    Args:
        origin: ``Origin`` of the request; None without it, or if pages may not ask.
        names_there: Lower-case names of the fields that the answer has: none comes twice.
    """
    if origin is None:
        return ()
    return tuple(field for field in (_ALLOW_ORIGIN, _EXPOSE) if field[0].lower() not in names_there)


def answer_lines(origin: bytes | None, names_there: Set[bytes] = frozenset()) -> bytes:
    """Return `answer_fields` as lines of a head."""
    if origin is None:
        return b""
    if names_there.isdisjoint(_ANSWER_NAMES):  # nearly always
        return _ANSWER_LINES
    return _lines(answer_fields(origin, names_there))


def _lines(fields: Iterable[Field]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


_ANSWER_NAMES: Final = frozenset({_ALLOW_ORIGIN[0].lower(), _EXPOSE[0].lower()})
_ANSWER_LINES: Final = _lines((_ALLOW_ORIGIN, _EXPOSE))
