"""Header fields that the configuration removes or sets.

What frames a message, or concerns one connection only, is out of reach: two readers who see
another end of a request are a hole (RFC 9112, section 11.2).
"""

import re
from typing import Final

from arriero.protocol.worker_config import HeaderRules

# Sources: RFC 9110, sections 6.6.2, 7.2, 7.6.1, 8.6 and 10.1.1; RFC 9112, section 6.1.
PROTECTED: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t -~]*")


def compile_rules(rules: HeaderRules) -> "CompiledRules | None":
    """Make `rules` ready; None if there are none.

    Raises:
        ValueError: A name is no name or out of reach, or a value is no value.
    """
    return CompiledRules(rules) if rules.remove or rules.set else None


class CompiledRules:
    """Carries out the rules of one direction."""

    def __init__(self, rules: HeaderRules) -> None:
        """Make the rules ready.

        Raises:
            ValueError: A name is no name or out of reach, or a value is no value.
        """
        for name in (*rules.remove, *(name for name, _ in rules.set)):
            if not _NAME.fullmatch(name):
                raise ValueError(f"cannot change the header field {name!r}: this is no name")
            if name.lower().encode() in PROTECTED:
                raise ValueError(
                    f"cannot change the header field '{name}': it has to stay as it is"
                )
        for name, value in rules.set:
            if not _VALUE.fullmatch(value):
                raise ValueError(
                    f"cannot set the header field '{name}': its value is not printable ASCII"
                )
        named = (*rules.remove, *(name for name, _ in rules.set))
        self._gone = frozenset(name.lower().encode() for name in named)
        self._lines = [f"{name}: {value}\r\n".encode("ascii") for name, value in rules.set]

    def apply(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines of a head as the rules want them.

        Args:
            lines: Each as ``Name: value`` with its line end.
        """
        kept = [line for line in lines if line[: line.index(b":")].lower() not in self._gone]
        return kept + self._lines

    def apply_joined(self, lines: bytes) -> bytes:
        """Do the same with lines in one piece."""
        return b"".join(self.apply(lines.splitlines(keepends=True)))
