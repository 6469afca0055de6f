"""Bytes of a pipe -> lines of text.

Holds back less than one line, however long a line gets.
"""

# Longest line that is passed on whole. llama-server's longest, the report of a ready model, has
# 400 bytes; a line beyond this is not meant for people.
MAX_LINE_BYTES = 8 * 1024


class LineSplitter:
    r"""Cuts a stream of bytes at ``\n``, ``\r\n`` and ``\r``, and every `MAX_LINE_BYTES`.

    A lone ``\r`` ends a line, because a progress bar is drawn with it and would otherwise be seen
    only when it is complete.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._after_return = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the lines they complete.

        Without line ends.
        """
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]  # the second half of a line end that was cut in two
            self._after_return = False
        if not data:
            return []
        self._after_return = data.endswith(b"\r")
        # bytes, unlike str, are split at these three line ends only
        pieces = (self._rest + data).splitlines(keepends=True)
        self._rest = b"" if pieces[-1].endswith((b"\n", b"\r")) else pieces.pop()
        lines: list[bytes] = []
        for piece in pieces:
            lines.extend(_cut(piece.rstrip(b"\r\n")))
        while len(self._rest) >= MAX_LINE_BYTES:
            lines.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        return lines

    def finish(self) -> list[bytes]:
        """Return the unfinished line at the end, if any."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


def _cut(line: bytes) -> list[bytes]:
    if len(line) <= MAX_LINE_BYTES:
        return [line]
    return [line[at : at + MAX_LINE_BYTES] for at in range(0, len(line), MAX_LINE_BYTES)]
