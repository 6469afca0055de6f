"""What models cost, and where a list of prices is."""

import math
import re
from dataclasses import replace
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

from arriero.protocol.records import MAX_USD, Prices

from ...pricing.by_pattern import PricesByGlob, PriceSource
from ...text.addresses import is_base_url
from ..yaml.tree import Node
from .json_schema import or_macro, text_like
from .macros import escaped
from .reader import Key, Place, ValueType, Wrong
from .sections import section
from .types import FILE, converted, duration, named, read_text, text

# Dearer than any model by far; and digits after the point that nobody needs.
_MAX_USD: Final = int(MAX_USD)
_MAX_MARKUP: Final = 1000
_MAX_PLACES: Final = 18

_QUERY: Final = re.compile(r'[!"$-~]*')

# Shortest pause between two fetches of a list, in seconds: it changes a few times a day.
_LEAST_REFRESH_S: Final = 60


def _decimal(most: int, wanted: str) -> ValueType[Decimal]:
    """A number, exactly as it is written: 0.1 is not what a float makes of it."""

    def read(node: Node, place: Place) -> Decimal:
        value = place.scalar(node, wanted)
        typed = value.typed
        if isinstance(typed, bool) or not isinstance(typed, int | float):
            raise place.wrong(node, wanted)
        if not math.isfinite(typed) or not 0 <= typed <= most:
            raise place.wrong(node, wanted)
        # Not the text of 0x10.
        found = Decimal(typed if isinstance(typed, int) else value.text.replace("_", ""))
        exponent = found.as_tuple().exponent
        if found.is_signed() or not isinstance(exponent, int) or exponent < -_MAX_PLACES:
            raise place.wrong(node, wanted)
        return found

    return ValueType(wanted, or_macro({"type": "number", "minimum": 0, "maximum": most}), read)


USD: Final = _decimal(_MAX_USD, f"US dollars, from 0 to {_MAX_USD}")


def _price(meaning: str, without: str) -> Key:
    return Key(USD, None, meaning, without=without)


_PRICES: Final = section(
    Prices,
    takes="a mapping of prices",
    input=_price("A million tokens of the prompt.", "not known"),
    output=_price("A million generated tokens.", "not known"),
    cache_read=_price("A million tokens of the prompt that came from a cache.", "as input"),
    cache_write=_price("A million tokens that were put into a cache.", "as input"),
    cache_write_1h=replace(
        _price("The same, for a cache that lives an hour.", "as cacheWrite"), name="cacheWrite1h"
    ),
    reasoning=_price("A million generated tokens of reasoning.", "as output"),
)
PRICES: Final = _PRICES.type
PRICES_BY_GLOB: Final[ValueType[PricesByGlob]] = converted(
    named(PRICES, "a mapping of patterns of names to prices"),
    lambda found: tuple(found.items()),
    dict,
)


def _url(node: Node, place: Place) -> str:
    found = read_text(node, place, "a URL", is_secret=True).strip()
    base, _, query = found.partition("?")
    if not is_base_url(base) or not _QUERY.fullmatch(query):
        # Not quoted: it may hold a key.
        raise Wrong(place.problem(node, "this is not a URL such as https://models.dev/api.json"))
    if "@" in urlsplit(base).netloc:
        raise Wrong(place.problem(node, "a user and a password are not sent; leave them out"))
    return found


_SOURCE: Final = section(
    PriceSource,
    file=Key(
        FILE,
        None,
        "A list as models.dev publishes it. It is read with the configuration, and at each reload.",
        without="none",
    ),
    url=Key(
        ValueType(
            "a URL",
            text_like(
                r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]+[^\s#]*\s*$",
                "a URL, such as https://models.dev/api.json",
                ["string"],
            ),
            _url,
            escaped,
        ),
        None,
        "The same, fetched in the background; the last good one is kept over restarts.",
        without="none",
    ),
    provider=Key(
        text("a name", strip=True),
        "",
        "Whose prices count first; for a model of a peer that is the provider called as the peer. "
        "Then they are asked by the alphabet.",
        without="none",
    ),
    markup=Key(
        _decimal(_MAX_MARKUP, f"a number from 0 to {_MAX_MARKUP}"),
        Decimal(1),
        "Everything in the list is multiplied by this.",
        written=1,
    ),
    refresh_s=Key(
        duration(_LEAST_REFRESH_S, 30 * 24 * 3600),
        3600.0,
        "Time from one fetch to the next.",
        written="1h",
    ),
)


def _price_list(node: Node, place: Place) -> PriceSource:
    found = _SOURCE.read(node, place)
    members = [node.member(name) for name in ("file", "url")]
    if sum(member is not None and member.value is not None for member in members) != 1:
        place.note(node, "write where the list is: either file or url")
    return found


PRICE_LIST: Final = replace(_SOURCE.type, read=_price_list)
