"""Prices of a model, from all sources in a configuration."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import translate
from typing import TypeAlias

import msgspec

from arriero.protocol.records import Prices

from .price_list import PriceList

PricesByGlob: TypeAlias = tuple[tuple[str, Prices], ...]
"""Patterns of names, such as ``gpt-*``, with what models of that name cost; the first one counts.

``*`` is any number of characters, ``/`` among them; ``?`` is one; ``[ab]`` one of these.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSource:
    """The source of a price list: a file or a URL.

    Attributes:
        file: Read together with the configuration.
        url: Fetched in the background, again and again.
        provider: Its prices go before those of others; empty for none.
        markup: Everything in the list is multiplied by this.
        refresh_s: Time from one fetch to the next.
    """

    file: str | None = None
    url: str | None = field(default=None, repr=False)  # may hold a key
    provider: str = ""
    markup: Decimal = Decimal(1)
    refresh_s: float = 3600.0


class Pricing:
    """Finds the prices of a model: its own, then globs, then the list."""

    def __init__(
        self, by_glob: PricesByGlob, source: PriceSource | None, listed: PriceList | None
    ) -> None:
        """Build it.

        Args:
            by_glob: Those of the top level.
            source: Of the list.
            listed: The list, if there is one yet.
        """
        self._by_glob = _compiled(by_glob)
        self._source = source or PriceSource()
        self._listed = listed

    def of_model(self, model: str, aliases: Sequence[str], own: Prices | None) -> Prices | None:
        """Return the prices of a local model; None if not known.

        In the list only its id is looked for: an alias is often the name of somebody else's model.

        Args:
            model: Its id.
            aliases: Its other names, for the globs.
            own: Its own prices.
        """
        if own is not None:
            return own
        found = _first(self._by_glob, (model, *aliases))
        return found or self._in_list(model, self._source.provider)

    def of_peer(self, peer: str, models: Iterable[str], own: PricesByGlob) -> dict[str, Prices]:
        """Return the prices of a peer's models, by their names there.

        Unknown ones are left out.

        Args:
            peer: Its id; in the list the provider of that name goes before all others.
            models: Their names there.
            own: Of this peer; patterns of these names.
        """
        globs = _compiled(own)
        found = {
            model: _first(globs, (model,))
            or _first(self._by_glob, (f"{peer}/{model}",))
            or self._in_list(model, peer, self._source.provider)
            for model in models
        }
        return {model: prices for model, prices in found.items() if prices is not None}

    def _in_list(self, model: str, *first: str) -> Prices | None:
        found = None if self._listed is None else self._listed.find(model, *first)
        if found is None:
            return None
        return msgspec.structs.replace(found, markup=self._source.markup)


_Compiled: TypeAlias = tuple[tuple[re.Pattern[str], Prices], ...]


def _compiled(by_glob: PricesByGlob) -> _Compiled:
    return tuple((re.compile(translate(glob)), prices) for glob, prices in by_glob)


def _first(globs: _Compiled, names: Sequence[str]) -> Prices | None:
    return next((prices for glob, prices in globs if any(glob.match(name) for name in names)), None)
