"""Suggestions for a name that does not exist."""

import difflib
from collections.abc import Iterable

# More names than that are not searched: it would take seconds for one mistake.
_MOST = 2000
_LONGEST = 100


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the name most like `name`; empty if none is."""
    candidates = list(known)[:_MOST]
    folded = [one for one in candidates if one.lower() == name.lower()]
    close = folded or difflib.get_close_matches(name[:_LONGEST], candidates, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
