"""What is secret in a configuration, and the taking out of it."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ...text.command_line import split_command
from ...text.redact import HIDDEN, masked_command, masked_text
from ..values import Config

# What is no longer is a number, a flag or a usual word: it is hidden where it stands, and not
# wherever it is found.
_LEAST: Final = 4

# From here on it is taken out of the middle of words, too.
_LONG: Final = 8

# A value of the environment, or of a header, whose name does not say that it is secret.
_LOOKS_SECRET: Final = 16

_WORD: Final = re.compile(r"\w+")
_A_REFERENCE: Final = re.compile(r"\s*\$\{(?:env\.)?[A-Za-z_][\w.-]{0,63}\}\s*", re.ASCII)


def is_reference(text: str) -> bool:
    """Whether a value is one macro or variable, and nothing else."""
    return _A_REFERENCE.fullmatch(text) is not None


def pieces_of_command(command: str) -> tuple[str, ...]:
    """Return what is hidden of a command, as its words have it."""
    return tuple(_pieces(split_command(command)))


def pieces_of_text(text: str) -> tuple[str, ...]:
    """Return what is hidden of a text, such as a URL."""
    return tuple(_between(text, masked_text(text)))


def names_secret(name: str) -> bool:
    """Whether what has that name is secret."""
    return masked_text(f"{name}=x") != f"{name}=x"


class Secrets:
    """Values that are never shown."""

    def __init__(self) -> None:
        self._long: dict[str, set[str]] = {}  # by how they begin
        self._parts: set[str] = set()
        self._words: set[str] = set()
        # All values from which a macro may have its own: those of the environment and of headers
        # as well, secret or not; and by how they begin.
        self._tainting: set[str] = set()
        self._tainting_by_begin: dict[str, set[str]] = {}
        self._all_tainting: str | None = None

    def add(self, values: Iterable[str]) -> None:
        """Hide `values` from here on."""
        for value in values:
            for one in {value, value.strip()}:
                if len(one) < _LEAST or is_reference(one):
                    pass
                elif len(one) >= _LONG:
                    self._long.setdefault(one[:_LONG], set()).add(one)
                else:
                    (self._words if _WORD.fullmatch(one) else self._parts).add(one)
                self._note(one)

    def add_named(self, values: Iterable[tuple[str, str]]) -> None:
        """The same for values with names, which may be harmless."""
        for name, value in values:
            if names_secret(name) or len(value) >= _LOOKS_SECRET:
                self.add((value,))
            else:
                self._note(value)

    def _note(self, value: str) -> None:
        self._all_tainting = None
        self._tainting.add(value)
        if len(value) >= _LEAST:
            self._tainting_by_begin.setdefault(value[:_LEAST], set()).add(value)

    def add_config(self, config: Config) -> None:
        """Hide what a configuration says: macros stand for what they mean there."""
        self.add(config.api_keys)
        self.add(key.sha256 for key in config.client_keys.values())
        self.add(f"sha256:{key.sha256}" for key in config.client_keys.values())
        for peer in config.peers.values():
            self.add((peer.api_key, *pieces_of_text(peer.url)))
        for launcher in config.launchers.values():
            self.add(_pieces(launcher.start))
            self.add(_pieces(launcher.stop))
        for model in config.written_models.values():
            self.add((model.api_key, *pieces_of_text(model.proxy)))
            self.add(_pieces(model.command))
            self.add(_pieces(model.stop_command))
            self.add_named(model.env)
        for rules in (config.request_headers, config.response_headers):
            self.add_named(rules.set)
        for rule in config.rules:
            self.add_named(rule.headers)
        if config.price_list is not None and config.price_list.url is not None:
            self.add((config.price_list.url,))

    def taints(self, macro: str) -> bool:
        """Whether a macro with that value is a part of what is not shown, or holds it."""
        text = macro.strip()
        if len(text) < _LEAST:
            return text in self._tainting
        if self._all_tainting is None:
            self._all_tainting = "\0".join(self._tainting)
        return text in self._all_tainting or any(
            text.startswith(value, at)
            for at in range(len(text) - _LEAST + 1)
            for value in self._tainting_by_begin.get(text[at : at + _LEAST], ())
        )

    def taken_out(self, text: str) -> str:
        """Return `text` with `HIDDEN` in the place of what is secret."""
        text = self._without_long(text)
        for part in self._parts:
            text = text.replace(part, HIDDEN)
        if not self._words:
            return text
        return _WORD.sub(lambda word: HIDDEN if word[0] in self._words else word[0], text)

    def _without_long(self, text: str) -> str:
        """Do it for long values, however many there are, in time that the text takes."""
        pieces: list[str] = []
        done = end = 0  # up to where the text is told, and is secret
        for at in range(len(text) - _LONG + 1 if self._long else 0):
            values = self._long.get(text[at : at + _LONG])
            if values is None:
                continue
            longest = max((len(it) for it in values if text.startswith(it, at)), default=0)
            if not longest:
                continue
            if at >= end:
                pieces += text[done:at], HIDDEN
            done = end = max(end, at + longest)
        return "".join((*pieces, text[done:]))


def _pieces(words: Iterable[str]) -> Iterator[str]:
    words = tuple(words)
    for word, masked in zip(words, masked_command(words), strict=True):
        yield from _between(word, masked)


def _between(text: str, masked: str) -> Iterator[str]:
    """Give what stands in `text` where `masked` has `HIDDEN`."""
    if text == masked:
        return
    kept = map(re.escape, masked.split(HIDDEN))
    found = re.fullmatch("(.*?)".join(kept), text, re.DOTALL)
    yield from (found.groups() if found is not None else (text,))
