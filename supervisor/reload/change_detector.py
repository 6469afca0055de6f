"""Changes of configuration files, once the files stand still again.

Rule 1: what counts is the difference from what was reported last, not from the last look. An edit
that is taken back at once is no change.
Rule 2: a missing source means nothing, and counts as changed when it is back: editors and
file servers take a file away for a moment, and a configuration without it is not what is meant.
Rule 3: it waits until the files stand still, so that a burst of edits is one change; but only so
long, should they never do so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

# Seconds without a change until one is reported. Ten edits within a second are one change then,
# and a user who saves a file need not wait.
QUIET_S: Final = 0.5

# Longest time in seconds that further edits put it off.
LIMIT_S: Final = 5.0


class Mark(msgspec.Struct, frozen=True):
    """The fingerprint of a file's state, without reading it.

    Attributes:
        path: As it was given, or found in its folder.
        target: Its path, links resolved.
        mtime_ns: Time of its last change.
        size_bytes: Its size.
        inode, device: Identity of the file: another one in its place has others.
    """

    path: str
    target: str
    mtime_ns: int
    size_bytes: int
    inode: int
    device: int


# The files of one source: one for a file, all of its YAML files in order for a folder. None if it
# is missing, and for a folder without such files.
Signature: TypeAlias = tuple[Mark, ...] | None

# The state at one look: each source, which is a file or a folder as it was named.
View: TypeAlias = Mapping[Path, Signature]


class Watch:
    """Takes views of the files; decides when to reload.

    Take the first view *before* the configuration is loaded. What is changed while it is loaded
    then differs from that view; the other way round such a change would be lost.
    """

    def __init__(self, first: View, *, quiet_s: float = QUIET_S, limit_s: float = LIMIT_S) -> None:
        self._reported: dict[Path, Signature] = dict(first)
        self._last: View = dict(first)
        self._still_since: float | None = None  # None: nothing to report
        self._changed_since = 0.0
        self._quiet_s = quiet_s
        self._limit_s = limit_s

    def see(self, view: View, now: float) -> bool:
        """Take `view`, which was taken at `now`.

        Args:
            view: Has the same sources every time.
            now: In seconds, of a clock that never goes back.

        Returns:
            True: load the configuration again. What is seen now counts as reported.
        """
        moved, self._last = view != self._last, dict(view)
        self._reported.update({source: None for source in view if view[source] is None})
        if view == self._reported:
            self._still_since = None
            return False
        if self._still_since is None:
            self._still_since = self._changed_since = now
            return False
        if moved:
            self._still_since = now
        stands = now - self._still_since >= self._quiet_s
        if not stands and now - self._changed_since < self._limit_s:
            return False
        self._reported = dict(view)
        self._still_since = None
        return True
