"""Suggestions for a name that does not exist."""

import difflib
from collections.abc import Collection, Iterable
from itertools import islice

# More names than that are not searched: it would take seconds for one mistake.
_MOST = 2000
_LONGEST = 100

# Names that are told if none is alike.
_MOST_SHOWN = 6


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the name most like `name`; empty if none is."""
    candidates = list(known)[:_MOST]
    folded = [one for one in candidates if one.lower() == name.lower()]
    close = folded or difflib.get_close_matches(name[:_LONGEST], candidates, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def meant_or_there(name: str, known: Iterable[str]) -> str:
    """Return the name most like `name` so; if none is alike, some of those there are."""
    candidates = list(known)
    return did_you_mean(name, candidates) or there_are(candidates)


def there_are(known: Collection[str]) -> str:
    """Return ``; there are 'a', 'b' and 3 more``; empty if there are none."""
    there = [repr(one[:_LONGEST]) for one in islice(known, _MOST_SHOWN)]
    if not there:
        return ""
    if more := len(known) - len(there):
        there.append(f"{more} more")
    listed = " and ".join(filter(None, (", ".join(there[:-1]), there[-1])))
    return f"; there {'is' if len(known) == 1 else 'are'} {listed}"
