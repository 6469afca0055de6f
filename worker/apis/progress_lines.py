"""Finds our own lines in a text of a client. Wire format, 10.

Clients show what came as reasoning in their own ways, and store that: in tags, as quotes, in
fences, with a prefix to each line, or just so. A line of ours begins with a marker, at the
beginning of a line or right after a tag; quotes and decoration may stand before it.

Rule 1: of what was said by a model every such line is ours: it goes wherever it is.
Rule 2: of other texts only what is inside of paired tags, quotes or fences goes: a user may paste
a log.
Rule 3: a text is written by strangers: each step here looks at a character a fixed number of times.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

# What clients put before each line; what ends lines; what may end a tag in front of one.
_DECORATION: Final = " \t\u00a0\u200b\ufeff>*_-+#~|`'\"\u2022\u2502\u2503\u258c\u258f"
_BREAKS: Final = "\n\r\x0b\x0c\x85\u2028\u2029"
_TAG_ENDS: Final = (">", "]", "\u25b7")
_ESCAPED_QUOTE: Final = "&gt;"
_MAX_QUOTES: Final = 8

# A line ends with its line, or where the tag around it ends; so much of it is looked at closely.
_STOP: Final = re.compile(rf"\r\n|[{_BREAKS}]|<(?=/?[A-Za-z])|\[(?=/[A-Za-z])")
_SEARCHED: Final = 1024
_BREAK_TAG: Final = re.compile(r"<br {0,4}/?>(?:\r?\n)?", re.IGNORECASE)
_EMPTY_QUOTES: Final = re.compile(r"(?:[ \t]*(?:>|&gt;)(?:[ \t>]|&gt;)*(?:\r?\n|\Z))+")

_TAG: Final = re.compile(
    r"<(/?)([A-Za-z][\w:.|-]{0,63}+)[^<>]*+>|\[(/?)([A-Za-z][\w:.|-]{0,63}+)[^\[\]]*+\]"
)
_FENCE: Final = re.compile(r"^[ \t>]*(`{3,}|~{3,})([^\r\n]*)", re.MULTILINE)
_BLANKS: Final = re.compile(r"\s*")
_BLANKS_AND_QUOTES: Final = re.compile(r"[\s>]*+(?:&gt;[\s>]*+)*+")

# Says what is in the tag around it; alone it is nothing.
_TITLE: Final = "summary"


class _ProgressLine(NamedTuple):
    """One line of ours, with what was put before it.

    Attributes:
        start, end: Where it is.
        is_quoted: It stands in a quote of its own.
    """

    start: int
    end: int
    is_quoted: bool


class _Pair(NamedTuple):
    """Two tags or fences, and the text between them."""

    start: int
    inside: int
    inside_end: int
    end: int
    name: str = ""


class SearchBudget:
    """Bounds on one search; strangers write the text.

    Attributes:
        tags: So many tags and fences; others count as text.
        markers: So many markers; what has others stays as it is.
    """

    __slots__ = ("markers", "tags")

    def __init__(self) -> None:
        self.tags = 2_000
        self.markers = 2_500


def without_lines(
    text: str, markers: Sequence[str], effort: SearchBudget, *, from_model: bool, is_shown: bool
) -> str:
    """Return `text` without our lines; the same object without any.

    Tags, quotes and fences that are empty then go as well.

    Args:
        text: Anything.
        markers: What lines of ours begin with.
        effort: Is made less by this.
        from_model: A model is said to have said it.
        is_shown: It is not reasoning: empty lines at its beginning are the client's.
    """
    lines = list(_find_lines(text, markers, effort))
    if not lines:
        return text
    pairs, unended = _find_pairs(text, effort)
    if not from_model:
        lines = _inside(lines, [*pairs, *unended])
        if not lines:
            return text
    gone = {line.start: line.end for line in lines}
    _add_shells(text, pairs, gone)
    parts: list[str] = []
    done = 0
    blank = True
    for start, end in sorted(gone.items()):
        if start > done:
            parts.append(text[done:start])
            blank = blank and not parts[-1].strip()
        if end > done:
            done = end
            if blank and is_shown and from_model:
                while done < len(text) and text[done] in "\r\n":
                    done += 1
    return "".join((*parts, text[done:]))


def _find_lines(text: str, markers: Sequence[str], effort: SearchBudget) -> Iterator[_ProgressLine]:
    places: list[int] = []
    for marker in markers:
        at = text.find(marker)
        while at >= 0 and effort.markers:
            effort.markers -= 1
            places.append(at)
            at = text.find(marker, at + len(marker))
    places.sort()
    done = looked = 0
    for at in places:
        if at < done:
            continue
        # What was looked at for the place before is not part of any beginning of this one.
        found = _beginning(text, max(done, looked), at)
        looked = at
        if found is None:
            continue
        start, is_quoted = found
        done = _end_of_line(text, at)
        if is_quoted and (more := _EMPTY_QUOTES.match(text, done)):
            done = more.end()
        yield _ProgressLine(start, done, is_quoted)


def _beginning(text: str, lowest: int, at: int) -> tuple[int, bool] | None:
    """Return the beginning of the line at `at`, and whether it is quoted.

    None if no line begins there. Only the text between `lowest` and `at` is looked at.
    """
    if at == 0 or text[at - 1] == "\n":
        return at, False
    before = text[lowest:at]
    is_quoted = False
    end = len(before)
    for _ in range(_MAX_QUOTES):
        kept = before[:end].rstrip(_DECORATION)
        is_quoted = is_quoted or ">" in before[len(kept) : end]
        end = len(kept)
        if not kept.endswith(_ESCAPED_QUOTE):
            break
        end -= len(_ESCAPED_QUOTE)
        is_quoted = True
    if not end:
        begins = lowest == 0 or text[lowest - 1] in _BREAKS or text[lowest - 1] in _TAG_ENDS
        return (lowest, is_quoted) if begins else None
    if before[end - 1] in _BREAKS:
        return lowest + end, is_quoted
    if before[end - 1] in _TAG_ENDS:
        return lowest + end, False
    tag_end = before.find(">", end)
    return None if tag_end < 0 else (lowest + tag_end + 1, False)


def _end_of_line(text: str, at: int) -> int:
    stop = _STOP.search(text, at + 1, at + _SEARCHED)
    if stop is None:
        return text.find("\n", at) + 1 or len(text)
    if stop[0] not in ("<", "["):
        return stop.end()
    tag = _BREAK_TAG.match(text, stop.start())
    return stop.start() if tag is None else tag.end()


def _find_pairs(text: str, effort: SearchBudget) -> tuple[list[_Pair], list[_Pair]]:
    """Return pairs, inner ones first, and openings with another's end."""
    pairs: list[_Pair] = []
    unended: list[_Pair] = []
    opened: dict[str, list[tuple[int, int]]] = {}
    ends: dict[str, list[tuple[int, int]]] = {}
    for tag in islice(_TAG.finditer(text), effort.tags):
        effort.tags -= 1
        is_end = tag[1] or tag[3]
        name = (tag[2] or tag[4]).lower()
        key = name if tag[2] else f"[{name}"
        if not is_end:
            opened.setdefault(key, []).append(tag.span())
            continue
        ends.setdefault(key, []).append(tag.span())
        if openings := opened.get(key):
            start, inside = openings.pop()
            pairs.append(_Pair(start, inside, *tag.span(), name))
    for key, closings in ends.items():
        left = iter(closings)
        place = next(left, None)
        for start, inside in opened.get(key, ()):
            while place is not None and place[0] < inside:
                place = next(left, None)
            if place is None:
                break
            unended.append(_Pair(start, inside, *place))
    pairs += _find_fences(text, effort)
    return pairs, unended


def _find_fences(text: str, effort: SearchBudget) -> Iterator[_Pair]:
    if "```" not in text and "~~~" not in text:
        return
    opening: re.Match[str] | None = None
    for fence in islice(_FENCE.finditer(text), effort.tags):
        effort.tags -= 1
        if opening is None:
            if "`" not in fence[2]:
                opening = fence
        elif fence[1].startswith(opening[1]) and not fence[2].strip():
            yield _Pair(opening.start(), opening.end(), fence.start(), fence.end())
            opening = None
    if opening is not None:  # it may have been cut
        yield _Pair(opening.start(), opening.end(), len(text), len(text))


def _inside(lines: Iterable[_ProgressLine], pairs: Iterable[_Pair]) -> list[_ProgressLine]:
    """Return the lines in quotes or pairs."""
    found = []
    ordered = iter(sorted((pair.inside, pair.inside_end) for pair in pairs))
    pair = next(ordered, None)
    reach = 0
    for line in lines:
        while pair is not None and pair[0] <= line.start:
            reach = max(reach, pair[1])
            pair = next(ordered, None)
        if line.is_quoted or line.start < reach:
            found.append(line)
    return found


def _add_shells(text: str, pairs: Sequence[_Pair], gone: dict[int, int]) -> None:
    """Add pairs of nothing else to `gone`, with trailing blanks."""
    if not pairs:
        return
    titles = {pair.start: pair.end for pair in pairs if pair.name == _TITLE}
    # by where the first word is: blanks and quotes may belong to what goes, and may not
    ends = {_end(_BLANKS_AND_QUOTES, text, start): end for start, end in gone.items()}
    for pair in sorted(pairs, key=lambda it: it.inside_end):
        at = pair.inside
        had_lines = False
        while (at := _end(_BLANKS_AND_QUOTES, text, at)) < pair.inside_end:
            if at in ends:
                at = ends[at]
                had_lines = True
            elif at in titles:
                at = titles[at]
            else:
                had_lines = False
                break
        if had_lines:
            ends[pair.start] = gone[pair.start] = _end(_BLANKS, text, pair.end)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
