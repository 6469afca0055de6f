r"""Hides the braces of ``${name}`` from a YAML parser.

``${name}`` is to be text wherever it stands, also in ``[${a}, ${b}]``, where YAML takes a brace for
the beginning of a mapping. So the parser gets another character in the place of each brace, and
what it gives is changed back. One character for one: lines and columns stay as they are.
"""

import re
from typing import Final

# A use of a macro, as far as YAML cannot read anything else into it. Without blanks, quotes, commas
# and brackets it ends in the token in which it begins; so its braces mean nothing where YAML reads
# them as text, and would be a mistake everywhere else.
_USE: Final = re.compile(r"\$\{([^\s${}\[\],'\"]*)\}")

# What may stand for a brace: the last characters for private use, which hardly any text has. Few of
# them, because each is looked for in the whole text.
_STAND_INS: Final = range(0xF8F0, 0xF900)


class Braces:
    r"""The braces in one text.

    Attributes:
        opening: What stands for ``{``: a character that the text neither holds nor spells as an
            escape (``"\uf8f0"``). Empty if there is nothing to hide, or nothing to hide it with.
        closing: The same for ``}``.
    """

    __slots__ = ("closing", "opening")

    def __init__(self, text: str) -> None:
        self.opening, self.closing = "", ""
        if _USE.search(text) is None:
            return
        folded = text.lower()
        free = [c for c in _STAND_INS if chr(c) not in text and f"{c:x}" not in folded]
        if len(free) > 1:
            self.opening, self.closing = chr(free[0]), chr(free[1])

    def hide(self, text: str) -> str:
        """Return what the parser gets to see."""
        if not self.opening:
            return text
        return _USE.sub(rf"${self.opening}\1{self.closing}", text)

    def show(self, text: str) -> str:
        """Return what was written, out of a value; only to be called if something is hidden."""
        return text.replace(self.opening, "{").replace(self.closing, "}")

    def show_quoted(self, message: str) -> str:
        """Return the parser's `message`, which may quote a character, as an escape."""
        if not self.opening:
            return message
        opening, closing = ascii(self.opening)[1:-1], ascii(self.closing)[1:-1]
        return message.replace(opening, "{").replace(closing, "}")
