"""The keys that say what models cost."""

import math
import re
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from arriero.protocol.records import MAX_USD, Prices

from ...pricing.by_pattern import PricesByGlob, PriceSource
from ...text.addresses import is_base_url
from ..yaml.tree import Node
from .json_schema import or_macro, text_like
from .reader import Key, Kind, Place, Wrong
from .types import duration, named, read_text, section, text

# Dearer than any model by far; and digits after the point that nobody needs.
_MAX_USD: Final = int(MAX_USD)
_MAX_MARKUP: Final = 1000
_MAX_PLACES: Final = 18

_QUERY: Final = re.compile(r'[!"$-~]*')

# Shortest pause between two fetches of a list, in seconds: it changes a few times a day.
_LEAST_REFRESH_S: Final = 60


def _decimal(most: int, wanted: str) -> Kind[Decimal]:
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

    return Kind(wanted, or_macro({"type": "number", "minimum": 0, "maximum": most}), read)


USD: Final = _decimal(_MAX_USD, f"US dollars, from 0 to {_MAX_USD}")


# Its attribute for each key of a mapping of prices.
PRICE_FIELDS: Final = {
    "input": "input",
    "output": "output",
    "cacheRead": "cache_read",
    "cacheWrite": "cache_write",
    "cacheWrite1h": "cache_write_1h",
    "reasoning": "reasoning",
}


def _price(name: str, meaning: str, without: str) -> Key[Decimal]:
    field = f"prices.{PRICE_FIELDS[name]}"
    return Key(name, USD, None, meaning, acts="0.1", field=field, without=without)


PRICE_KEYS: Final[tuple[Key[Any], ...]] = (
    _price("input", "A million tokens of the prompt.", "not known"),
    _price("output", "A million generated tokens.", "not known"),
    _price("cacheRead", "A million tokens of the prompt that came from a cache.", "as input"),
    _price("cacheWrite", "A million tokens that were put into a cache.", "as input"),
    _price("cacheWrite1h", "The same, for a cache that lives an hour.", "as cacheWrite"),
    _price("reasoning", "A million generated tokens of reasoning.", "as output"),
)
_SECTION: Final = section(PRICE_KEYS, "a mapping of prices")


def _prices(node: Node, place: Place) -> Prices:
    found = _SECTION.read(node, place)
    return Prices(**{PRICE_FIELDS[name]: price for name, price in found.items()})


PRICES: Final[Kind[Prices]] = Kind(_SECTION.takes, _SECTION.schema, _prices, keys=PRICE_KEYS)

_NAMED: Final = named(PRICES, "a mapping of patterns of names to prices")


def _by_glob(node: Node, place: Place) -> PricesByGlob:
    return tuple(_NAMED.read(node, place).items())


PRICES_BY_GLOB: Final[Kind[PricesByGlob]] = Kind(_NAMED.takes, _NAMED.schema, _by_glob, each=PRICES)


def _url(node: Node, place: Place) -> str:
    found = read_text(node, place, "a URL", is_secret=True).strip()
    base, _, query = found.partition("?")
    if not is_base_url(base) or not _QUERY.fullmatch(query):
        # Not quoted: it may hold a key.
        raise Wrong(place.problem(node, "this is not a URL such as https://models.dev/api.json"))
    if "@" in urlsplit(base).netloc:
        raise Wrong(place.problem(node, "a user and a password are not sent; leave them out"))
    return found


PRICE_LIST_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "file",
        text("the path of a file", lambda path: bool(path.strip()), pattern=r"\S"),
        None,
        "A list as models.dev publishes it. It is read with the configuration, and at each reload.",
        acts="0.1",
        field="route.prices",
        without="none",
    ),
    Key(
        "url",
        Kind(
            "a URL",
            text_like(
                r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]+[^\s#]*\s*$",
                "a URL, such as https://models.dev/api.json",
                ["string"],
            ),
            _url,
        ),
        None,
        "The same, fetched in the background; the last good one is kept over restarts.",
        acts="0.1",
        field="source.url",
        without="none",
    ),
    Key(
        "provider",
        text("a name", strip=True),
        "",
        "Whose prices count first; for a model of a peer that is the provider called as the peer. "
        "Then they are asked by the alphabet.",
        acts="0.1",
        field="route.prices",
        without="none",
    ),
    Key(
        "markup",
        _decimal(_MAX_MARKUP, f"a number from 0 to {_MAX_MARKUP}"),
        Decimal(1),
        "Everything in the list is multiplied by this.",
        acts="0.1",
        field="prices.markup",
        written=1,
    ),
    Key(
        "refresh",
        duration(_LEAST_REFRESH_S, 30 * 24 * 3600),
        3600.0,
        "Time from one fetch to the next.",
        acts="0.1",
        field="source.refresh_s",
        written="1h",
    ),
)
_LIST_SECTION: Final = section(PRICE_LIST_KEYS)


def _price_list(node: Node, place: Place) -> PriceSource:
    found = _LIST_SECTION.read(node, place)
    members = [node.member(name) for name in ("file", "url")]
    if sum(member is not None and member.value is not None for member in members) != 1:
        place.note(node, "write where the list is: either file or url")
    return PriceSource(
        file=found["file"],
        url=found["url"],
        provider=found["provider"],
        markup=found["markup"],
        refresh_s=found["refresh"],
    )


PRICE_LIST: Final[Kind[PriceSource]] = Kind(
    _LIST_SECTION.takes, _LIST_SECTION.schema, _price_list, keys=PRICE_LIST_KEYS
)
