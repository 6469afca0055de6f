"""How a prompt begins: equal for all turns of one conversation, and for hardly any two of them.

That is its messages up to the first one of the user. What follows grows with each turn. It is only
looked for where several machines have the model, so that a conversation comes back to the one that
has read it already; a wrong guess costs time, and nothing else.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from .spans import Member

# Bytes that are looked at: instructions of agents have some ten thousand.
_MOST: Final = 64 * 1024

# Bytes of a text that has no messages, such as a file that is to be completed.
_TEXT_BYTES: Final = 512

# Members that hold prompts: of chats and messages, of Responses, of completions, and of Gemini's.
_NAMES: Final = ("messages", "input", "prompt", "contents")
_PROMPT: Final = re.compile(
    rb'"(?:%b)"[ \t\r\n]*+:[ \t\r\n]*+(?=["\[])' % "|".join(_NAMES).encode()
)

# One that is cut off is one to its end, or each quote in it would be looked at again.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TOKEN: Final = re.compile(rb"%b|[{}\[\]]" % _STRING, re.DOTALL)
_OF_USER: Final = re.compile(rb'"role"[ \t\r\n]*+:[ \t\r\n]*+"user"')


def prompt_prefix(body: bytes, members: Iterable[Member] | None = None) -> str:
    """Return 16 hexadecimal digits that stand for the beginning of the prompt; empty without one.

    Args:
        body: A request, JSON as a rule.
        members: Where its members are, if it is too long to be searched.
    """
    if members is not None:
        start = next((it.start for it in members if it.name in _NAMES), -1)
    else:
        found = _PROMPT.search(body)
        start = -1 if found is None else found.end()
    if start < 0:
        return ""
    if body[start : start + 1] == b'"':
        prefix = body[start : start + _TEXT_BYTES]
    else:
        prefix = body[start : _end_of_first(body, start)]
    return hashlib.blake2b(prefix, digest_size=8).hexdigest()


def _end_of_first(body: bytes, start: int) -> int:
    """Return the end of the first message of a user in the list that begins at `start`."""
    end = min(len(body), start + _MOST)
    depth, began = 0, start
    for token in _TOKEN.finditer(body, start, end):
        sign = body[token.start()]
        if sign in b"{[":
            depth += 1
            if depth == 2:
                began = token.start()
        elif sign in b"}]":
            depth -= 1
            if depth == 1 and _OF_USER.search(body, began, token.end()):
                return token.end()
            if depth <= 0:
                return token.end()
    return end
