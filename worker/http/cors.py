"""Which pages may ask, and what their browsers want to hear about it.

Without a word in the configuration those of this machine may, as with other local model servers:
pages that it serves, and programs that are pages inside. ``cors`` lists others, or lets in those
of all sites (true) or of none (false). Cookies are never looked at.

Sources: Fetch standard, section 3.3 (CORS protocol); RFC 6454, section 6.2.
"""

import re
from collections.abc import Callable, Iterable, Set
from typing import Final, TypeAlias

Field: TypeAlias = tuple[bytes, bytes]

Cors: TypeAlias = bool | tuple[str, ...]
"""See `WorkerConfig.cors`."""

# Pages that this machine serves (names under `localhost` never leave it; RFC 6761, section 6.3),
# and those of programs: Electron, files in them, Tauri, VS Code.
_LOCAL: Final = (
    rb"https?://(?:(?:[a-z0-9_-]+\.)*localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?",
    rb"(?:app|file|tauri|vscode-webview)://[!-~]*",
)
_LONGEST_ORIGIN: Final = 512

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_DEFAULT_HEADERS: Final = b"Content-Type, Authorization, Accept, X-Requested-With"

# Seconds that a browser may remember the answer.
_MAX_AGE: Final = b"86400"

# Names that are repeated back: official browser clients send some fifteen of their own.
_MAX_HEADERS: Final = 50

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")

_ALLOW: Final = b"Access-Control-Allow-Origin"
_VARY: Final = (b"Vary", b"Origin")
_EXPOSE: Final = (
    b"Access-Control-Expose-Headers",
    b"X-Request-Id, X-Gateway-Cost, X-Gateway-Prompt-Tokens, X-Gateway-Completion-Tokens, "
    b"X-Gateway-Cached-Tokens, X-Gateway-Outcome, X-Swap-Progress",
)


def compile_origins(cors: Cors) -> Callable[[bytes], bool]:
    """Return what says whether pages of an origin may ask; those of our own are not its business.

    Args:
        cors: As in the configuration. Of a listed origin ``*`` may stand for the port (any, or
            none), for the host, or for what comes before a name (``https://*.example.org``);
            ``null`` is that of pages that hide theirs.
    """
    if cors is True:
        return lambda _: True
    if cors is False:
        return lambda _: False
    patterns = [*_LOCAL, *map(_pattern_of, cors)]
    permitted = re.compile(b"|".join(b"(?:%b)" % pattern for pattern in patterns))
    return lambda origin: (
        len(origin) <= _LONGEST_ORIGIN and permitted.fullmatch(origin.strip().lower()) is not None
    )


def _pattern_of(origin: str) -> bytes:
    scheme, found, rest = origin.lower().rstrip("/").partition("://")
    if not found:
        return re.escape(origin.lower()).encode()
    port = ""
    if rest.endswith(":*"):
        rest, port = rest[:-2], r"(?::\d{1,5})?"
    if rest == "*":
        host = r"[^/:@\s]*"
    elif rest.startswith("*."):
        host = r"(?:[^/:@.\s]+\.)+" + re.escape(rest[2:])
    else:
        host = re.escape(rest)
    return f"{re.escape(scheme)}://{host}{port}".encode()


def preflight_fields(fields: Iterable[Field], cors: Cors) -> tuple[Field, ...]:
    """Return the fields of the answer to a preflight, which has the status 204.

    Args:
        fields: Of the request, with lower-case names. Its origin was found to be permitted.
        cors: As in the configuration.
    """
    fields = tuple(fields)
    origin = next((value for name, value in fields if name == b"origin"), None)
    asked = b",".join(value for name, value in fields if name == b"access-control-request-headers")
    names = [name for name in map(bytes.strip, asked.split(b",")) if _TOKEN.fullmatch(name)]
    return (
        *_allowed(origin, cors),
        (b"Access-Control-Allow-Methods", _METHODS),
        (b"Access-Control-Allow-Headers", b", ".join(names[:_MAX_HEADERS]) or _DEFAULT_HEADERS),
        (b"Access-Control-Max-Age", _MAX_AGE),
        (b"Vary", b"Origin, Access-Control-Request-Headers"),
    )


def answer_fields(
    origin: bytes | None, cors: Cors, names_there: Set[bytes] = frozenset()
) -> tuple[Field, ...]:
    """Return what an answer needs besides, so that a page may read it.

    Args:
        origin: ``Origin`` of the request, which was found to be permitted; None without it.
        cors: As in the configuration.
        names_there: Lower-case names of the fields that the answer has: none comes twice.
    """
    if cors is False:
        return ()
    if origin is None:
        return () if cors is True else (_VARY,)
    said = (*_allowed(origin, cors), _EXPOSE)
    kept = tuple(field for field in said if field[0].lower() not in names_there)
    return kept if cors is True else (*kept, _VARY)


def answer_lines(origin: bytes, cors: Cors, names_there: Set[bytes] = frozenset()) -> bytes:
    """Return `answer_fields` as lines of a head."""
    return b"".join(b"%b: %b\r\n" % field for field in answer_fields(origin, cors, names_there))


def _allowed(origin: bytes | None, cors: Cors) -> tuple[Field, ...]:
    if cors is True:
        return ((_ALLOW, b"*"),)
    return () if origin is None or cors is False else ((_ALLOW, origin),)
