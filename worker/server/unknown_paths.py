"""What somebody is told who asks where nothing is, or by another method.

The path is a stranger's: it is cut and cleaned before anything is done with it, and compared with
a fixed number of others.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ..apis.routes import BY_BODY, ROUTES

# How much of a path, and of a method, is looked at and shown.
_MAX_CHARS: Final = 100
_METHOD_CHARS: Final = 20

# Beginnings that base URLs have, or lack, by mistake.
_VERSION: Final = "/v1"
_ALMOST_SAME: Final = 0.9
_ALIKE: Final = 0.8


class KnownPath(NamedTuple):
    """Something that is there."""

    method: str
    path: str


MODEL_PATHS: Final[tuple[KnownPath, ...]] = tuple(
    KnownPath(method, it.path)
    for it in ROUTES.declared
    if it.is_exact and it.path != BY_BODY.decode()
    for method in it.methods
)


def nothing_at(method: str, path: str, pages: Iterable[KnownPath]) -> str:
    """Return what is said of a path at which nothing is.

    Args:
        method: By which it was asked.
        path: Without its query.
        pages: What is there besides the routes of models.
    """
    nothing = f"no {_clean(method, _METHOD_CHARS)} {_clean(path, _MAX_CHARS)} here"
    found = find_like(method, path, pages)
    if found is None:
        return f"{nothing}; GET / says what there is"
    meant = found.path if found.method == method else f"{found.method} {found.path}"
    return f"{nothing}; did you mean {meant}?"


def wrong_method(method: str, path: str, allowed: Sequence[str]) -> str:
    """Return what is said of a path that is there for the methods `allowed` only."""
    asked = f"{_clean(method, _METHOD_CHARS)} {_clean(path, _MAX_CHARS)}"
    return f"no {asked} here, only {', '.join(allowed)}"


def find_like(method: str, path: str, pages: Iterable[KnownPath]) -> KnownPath | None:
    """Return what is there and looks like `path`; of two by one path the one with the method."""
    by_path: dict[str, KnownPath] = {}
    for known in (*pages, *MODEL_PATHS):
        if known.path not in by_path or known.method == method:
            by_path[known.path] = known
    asked = _normal(path[:_MAX_CHARS])
    if asked == "/":
        return None
    for name in (asked, _VERSION + asked):
        if name in by_path:
            return by_path[name]
    if like := _most_like(asked, by_path, _ALMOST_SAME):
        return like
    # A base URL with more before it: the longest path that it ends with.
    for known_path in sorted(by_path, key=len, reverse=True):
        if asked.endswith((known_path, known_path.removeprefix(_VERSION))):
            return by_path[known_path]
    return _most_like(asked, by_path, _ALIKE)


def ends_with(path: str, known: KnownPath) -> bool:
    """Whether only what stands before is wrong with `path`, as with a wrong base URL."""
    return _normal(path).endswith(known.path.removeprefix(_VERSION))


def _most_like(asked: str, by_path: Mapping[str, KnownPath], likeness: float) -> KnownPath | None:
    for name in (asked, _VERSION + asked):
        if like := difflib.get_close_matches(name, by_path, n=1, cutoff=likeness):
            return by_path[like[0]]
    return None


def _normal(path: str) -> str:
    parts = [part for part in path.lower().split("/") if part.strip()]
    return "/" + "/".join(parts)


def _clean(text: str, most: int) -> str:
    kept = "".join(char if char.isprintable() else "?" for char in text[:most])
    return kept if len(text) <= most else f"{kept}.."
