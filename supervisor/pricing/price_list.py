"""Reads a price list in the format of models.dev.

The list names the same model under several providers, at several prices. Which one counts is
fixed: those that are asked first, else the first one in the alphabet.

Source: models.dev, ``api.json``: provider -> ``models`` -> model -> ``cost``, in US dollars per
million tokens.
"""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import msgspec

from arriero.protocol.errors import LocalProtocolError
from arriero.protocol.read_json import BadJson, JsonReader
from arriero.protocol.records import Prices

# Ten times what models.dev publishes.
MAX_LIST_BYTES: Final = 20 * 1024 * 1024


class _Cost(msgspec.Struct):
    input: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None


class _PricedModel(msgspec.Struct):
    cost: _Cost | None = None


class _Provider(msgspec.Struct):
    models: dict[str, msgspec.Raw] = {}


_providers = JsonReader(dict[str, msgspec.Raw])
_provider = JsonReader(_Provider)
_model = JsonReader(_PricedModel)


class BadPriceList(Exception):
    """A price list cannot be read; the message has the reason."""


class PriceList:
    """The prices of all models of all providers. Immutable."""

    def __init__(self, prices: Mapping[str, Mapping[str, Prices]]) -> None:
        """Build it; `prices` by provider and model."""
        self._providers = MappingProxyType(dict(prices))
        self._by_model: dict[str, Prices] = {}
        for provider in sorted(prices, reverse=True):
            self._by_model.update(prices[provider])  # the first one in the alphabet stays

    def __len__(self) -> int:
        return sum(map(len, self._providers.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PriceList) and self._providers == other._providers

    def __hash__(self) -> int:
        return hash(frozenset(self._providers))

    def find(self, model: str, *first: str) -> Prices | None:
        """Return the prices of `model`; None if unknown.

        Args:
            model: Its id with the provider.
            first: Providers that are asked before all others, in this order.
        """
        for provider in first:
            found = self._providers.get(provider, {}).get(model)
            if found is not None:
                return found
        return self._by_model.get(model)


def read_price_list(data: bytes) -> PriceList:
    """Read a list (JSON). Senseless providers and models are left out.

    Raises:
        BadPriceList: It is no JSON object, too large, or there is no price in it.
    """
    if len(data) > MAX_LIST_BYTES:
        size = MAX_LIST_BYTES // 1024 // 1024
        raise BadPriceList(f"cannot read the list of prices: it is larger than {size} MB")
    try:
        providers = _providers.read(data)
    except BadJson as exc:
        raise BadPriceList(f"cannot read the list of prices: {exc}") from exc
    found = {name: _models_of(raw) for name, raw in providers.items()}
    prices = PriceList({name: models for name, models in found.items() if models})
    if not len(prices):
        raise BadPriceList("cannot use the list of prices: no model in it has one")
    return prices


def _models_of(raw: msgspec.Raw) -> dict[str, Prices]:
    found: dict[str, Prices] = {}
    provider = _provider.find(raw)
    for name, text in provider.models.items() if provider is not None else ():
        model = _model.find(text)
        if model is not None and model.cost is not None:
            with suppress(LocalProtocolError):
                found[name] = Prices(**msgspec.structs.asdict(model.cost))
    return found
