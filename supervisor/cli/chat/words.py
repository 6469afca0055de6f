"""What is typed in a chat that is no question. Pure."""

from typing import Final

import msgspec

from ...text.did_you_mean import did_you_mean

WORDS: Final = {
    "help": ("", "show this"),
    "clear": ("", "forget what was said; the instructions of /system stay"),
    "model": ("NAME", "go on with another model; without NAME, list them"),
    "system": ("TEXT", "instructions for the model; without TEXT, none"),
    "thinking": ("", "show the model's reasoning from now on, or no more"),
    "save": ("FILE", "write the chat into a new file: Markdown, or JSON if its name says so"),
    "exit": ("", "end; so do Ctrl-D, and Ctrl-C twice"),
}


class ChatWord(msgspec.Struct, frozen=True):
    """A word that means something to the chat itself.

    Attributes:
        name: One of `WORDS`.
        rest: What stands behind it.
    """

    name: str
    rest: str


def read_word(line: str) -> ChatWord | str | None:
    """Read a line.

    Returns:
        The word; a text if there is a mistake in it; None if the line is a question.
    """
    if not line.startswith("/"):
        return None
    name, _, rest = line[1:].partition(" ")
    name, rest = {"quit": "exit", "bye": "exit", "?": "help"}.get(name, name), rest.strip()
    if name not in WORDS:
        hint = did_you_mean(name, WORDS)
        return (
            f"there is no /{name}{hint or ';'} write a blank before a question that begins with /"
        )
    if rest and not WORDS[name][0]:
        return f"/{name} takes nothing behind it"
    if name == "save" and not rest:
        return "say into which file: /save talk.md"
    return ChatWord(name, rest)


def help_lines() -> list[str]:
    """Return what can be typed."""
    heads = {f"/{name} {takes}".rstrip(): text for name, (takes, text) in WORDS.items()}
    width = max(map(len, heads))
    return [
        *(f"  {head.ljust(width)}  {text}" for head, text in heads.items()),
        "  A line that ends with \\ goes on in the next one. Ctrl-C ends an answer.",
    ]
