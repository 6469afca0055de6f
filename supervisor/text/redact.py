"""Hides secrets in a command that is to be shown.

A secret is found by the name that stands before it, or by its own form. One that has neither, such
as the third argument of somebody's script, cannot be told from anything else. In case of doubt
more is hidden than has to be.

Every pattern takes time in proportion to the text: no name is looked at from its middle, and what
was taken is not given back (``++``).
"""

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "***"

# A name, and what makes the next thing its value: --name=, NAME=, a header, JSON, or a blank.
_NAMED: Final = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]++)(?:=|\\?["']\s*+:\s*+|\s*+:\s++|(?P<blank>["']?\s++))"""
)

# A value as a shell reads it: up to a blank without quotes. A quote may be open to the end.
_VALUE: Final = re.compile(
    r"""(?:"(?:\\.|[^"\\])*+(?:"|\\?\Z)|'[^']*+(?:'|\Z)|\\.|[^\s"'\\])++\\?""", re.DOTALL
)

# Names that hold one of these; an author and a monkey are taken for secrets, too.
_SECRET: Final = re.compile(
    r"key|token|secret|passw|passphrase|credential|bearer|auth", re.IGNORECASE
)

# Options that are followed by a secret end so. --prompt-tokens does not: it may be a mere switch.
_OPTION: Final = re.compile(
    r"-[\w.-]*(?:keys?|token|secrets?|passwords?|passwd|-pass|passphrase|credentials?|bearer|auth)"
    r"|-hft",
    re.IGNORECASE,
)

# A place where secrets are kept is none itself, and a tokenizer has none.
_HARMLESS: Final = re.compile(r"(?:file|path|dir)s?\Z|tokenizer", re.IGNORECASE)
_LIMITS: Final = frozenset({"max", "min", "n", "num"})

_AUTHORIZATION: Final = re.compile(
    r"""(\b(?:authorization\\?["']?\s*[:=]\s*["']?[\w-]++|bearer)\s++)[^\s"']++""", re.IGNORECASE
)
# Source of the form: RFC 3986, section 3.2.1.
_USER_INFO: Final = re.compile(r"(?<=://)[^\s/?#]*@")
# As Hugging Face, OpenAI, GitHub, GitLab and Slack write theirs; JSON web tokens.
_BY_FORM: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{10,}|sk-[\w-]{8,}|gh[opsu]_[A-Za-z0-9]{10,}"
    r"|github_pat_\w{10,}|glpat-[\w-]{10,}|xox[a-z]-[\w-]{10,}|eyJ[\w-]{8,}(?:\.[\w-]+)*)"
)
_BLANK: Final = re.compile(r"\s")

# Without any of these nothing in a text has a name.
_SIGNS: Final = re.compile(r"[\s=:@]")


def masked_command(words: Iterable[str]) -> tuple[str, ...]:
    """Return the arguments `words`, with `HIDDEN` in the place of secrets."""
    masked: list[str] = []
    is_value = False
    for word in words:
        masked.append(HIDDEN if is_value else masked_text(word))
        is_value = _takes_secret(word)
    return tuple(masked)


def masked_text(text: str) -> str:
    """Return `text`, one argument or a URL, with `HIDDEN` in the place of secrets.

    An argument that begins with a name, such as ``TOKEN=a b``, is its value to the end. In any
    other with blanks, such as a script for a shell, a value ends where it would for a shell.
    """
    if _SIGNS.search(text):
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
        text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
        text = _without_values(text)
    return _BY_FORM.sub(HIDDEN, text)


def _without_values(text: str) -> str:
    blank = _BLANK.search(text)
    first_blank = len(text) if blank is None else blank.start()
    pieces: list[str] = []
    done = at = 0
    while (found := _NAMED.search(text, at)) is not None:
        at = found.end()
        name = found["name"]
        if found["blank"] is not None:
            is_secret, is_whole = _takes_secret(name), False
        else:
            is_secret, is_whole = _is_secret(name), found.end("name") <= first_blank
        if not is_secret:
            continue
        value = None if is_whole else _VALUE.match(text, at)
        pieces += text[done:at], HIDDEN
        done = at = len(text) if value is None else value.end()
    return "".join((*pieces, text[done:]))


def _takes_secret(option: str) -> bool:
    """Return whether the argument after `option` is a secret."""
    return _OPTION.fullmatch(option) is not None


def _is_secret(name: str) -> bool:
    """Return whether the value of `name` is a secret."""
    if _SECRET.search(name) is None or _HARMLESS.search(name) is not None:
        return False
    *parts, last = re.split(r"[_.-]", name.lower())
    return last != "tokens" or _LIMITS.isdisjoint(parts)
