"""What models cost: as written, by patterns, and by a list."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from arriero.protocol.records import Prices
from arriero.supervisor.config.diff import diff
from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.load import Config, load_config
from arriero.supervisor.config.worker_config import route_table
from arriero.supervisor.errors import ConfigError
from arriero.supervisor.pricing.by_pattern import PriceSource
from arriero.supervisor.pricing.price_list import PriceList, read_price_list
from tests.supervisor.config.reading import model, parse, problems, with_model

# --- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("0.1", "0.1"),
        ("0.30", "0.3"),
        ("15", "15"),
        (".5", "0.5"),
        ("1.", "1"),
        ("1e-6", "0.000001"),
        ("1_000", "1000"),
        ("0x10", "16"),
        ("0", "0"),
        ("0.123456789012345678", "0.123456789012345678"),
        ("1000000", "1000000"),
        ("'${p}'", "0.1"),
    ],
)
def test_a_price_is_exactly_what_is_written(written: str, price: str) -> None:
    text = with_model(f"prices: {{input: {written}}}", "macros: {p: 0.1}")
    assert parse(text).models["a"].prices == Prices(input=Decimal(price))
    assert parse(dump(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "written",
    ["-1", "-0.0", "1000000.1", ".inf", ".nan", "1e400", "1e-19", "'0.1'", "true", "much", "[1]"],
)
def test_what_is_no_price_is_a_mistake(written: str) -> None:
    (told,) = problems(with_model(f"prices: {{input: {written}}}"))
    assert ": models.a.prices.input: found " in told
    assert told.endswith("; write US dollars, from 0 to 1000000")


def test_each_kind_of_tokens_has_its_price() -> None:
    written = "{input: 1, output: 2, cacheRead: 3, cacheWrite: 4, cacheWrite1h: 5, reasoning: 6}"
    assert model(f"prices: {written}").prices == Prices(
        input=Decimal(1),
        output=Decimal(2),
        cache_read=Decimal(3),
        cache_write=Decimal(4),
        cache_write_1h=Decimal(5),
        reasoning=Decimal(6),
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("priceList: {}", "priceList: write where the list is: either file or url"),
        ("priceList: {provider: x}", "priceList: write where the list is: either file or url"),
        ("priceList: {file: x, url: 'http://h'}", "priceList: write where the list is: either"),
        ("priceList: {url: 'http://h', refresh: 59s}", "priceList.refresh: found the text '59s'"),
        ("priceList: {url: 'http://h', markup: -1}", "priceList.markup: found the number -1"),
        ("priceList: {file: ' '}", "priceList.file: found the text ' '"),
        ("prices: [1]", "prices: found a list; write a mapping of patterns of names to prices"),
        ("prices: {a: 1}", "prices.a: found the number 1; write a mapping of keys"),
        (
            "prices: {a: {cache_read: 1}}",
            "prices.a: unknown key 'cache_read'; did you mean 'cacheRead'?",
        ),
    ],
)
def test_a_mistake_is_told_where_it_is(written: str, told: str) -> None:
    (found,) = problems(with_model(top=written))
    assert f": {told}" in found


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("h/s3cret", "this is not a URL such as https://models.dev/api.json"),
        ("ftp://h/s3cret", "this is not a URL"),
        ("http://h/?s3cret#x", "this is not a URL"),
        ("http://h/?a s3cret", "this is not a URL"),
        ("http://h:99999/s3cret", "this is not a URL"),
        ("http://me:s3cret@h/", "a user and a password are not sent; leave them out"),
    ],
)
def test_a_bad_url_is_told_without_what_may_be_a_key(url: str, told: str) -> None:
    (found,) = problems(with_model(top=f"priceList: {{url: '{url}'}}"))
    assert f": priceList.url: {told}" in found
    assert "s3cret" not in found


def test_a_url_that_may_hold_a_key_is_not_shown_by_accident() -> None:
    text = with_model(top="priceList: {url: 'https://h/p?key=s3cret', markup: 1.20}")
    config = parse(text)
    assert config.price_list == PriceSource(url="https://h/p?key=s3cret", markup=Decimal("1.2"))
    assert "s3cret" not in repr(config)
    assert parse(dump(config)) == config


# --- which one counts ---------------------------------------------------------------------------

LIST = read_price_list(
    json.dumps(
        {
            provider: {"models": {name: {"cost": {"input": price}} for name in names.split()}}
            for provider, names, price in (
                ("zeta", "both org/m", 9),
                ("alpha", "both", 7),
                ("cloud", "both m", 8),
            )
        }
    ).encode()
)


def of_model(config: Config, name: str, listed: PriceList | None = None) -> object:
    """Return what the input of a model here costs; None if that is not known."""
    (prices,) = (
        route.prices for route in route_table(config, 1, listed).models if route.model == name
    )
    return prices and prices.input


def test_own_prices_go_before_patterns_and_these_before_the_list() -> None:
    run = "cmd: 'run ${PORT}'"
    config = parse(
        f"models: {{own: {{{run}, prices: {{input: 1}}}}, matched: {{{run}}}, both: {{{run}}}, "
        f"nobody: {{{run}}}, empty: {{{run}, prices: {{}}}}}}\n"
        "prices: {own: {input: 2}, empty: {input: 2}, 'm*': {input: 3}}"
    )
    assert [of_model(config, name, LIST) for name in config.models] == [1, 3, 7, None, None]


@pytest.mark.parametrize(
    ("patterns", "price"),
    [
        ("'org/*': {input: 1}, '*': {input: 2}", 1),
        ("'*': {input: 2}, 'org/*': {input: 1}", 2),
        ("'*b': {input: 1}", 1),  # * is any character
        ("'org/?[ab]': {input: 1}", 1),
        ("other: {input: 2}, nick: {input: 1}", 1),  # an alias
        ("nick: {input: 2}, org/ab: {input: 1}", 2),  # the order is that of the patterns
        ("'ORG/*': {input: 1}", None),
        ("org: {input: 1}", None),
        ("'org.ab': {input: 1}", None),
    ],
)
def test_the_first_pattern_that_fits_counts(patterns: str, price: int | None) -> None:
    text = f"models: {{org/ab: {{cmd: 'run ${{PORT}}', aliases: [nick]}}}}\nprices: {{{patterns}}}"
    assert of_model(parse(text), "org/ab") == price
    assert parse(dump(parse(text))) == parse(text)


@pytest.mark.parametrize(("provider", "price"), [("", 7), ("zeta", 9), ("cloud", 8), ("nobody", 7)])
def test_of_two_providers_with_one_model_it_is_always_the_same_that_counts(
    provider: str, price: int
) -> None:
    source = f"priceList: {{url: 'http://h', provider: '{provider}'}}"
    text = f"models: {{both: {{cmd: 'run ${{PORT}}'}}}}\n{source}"
    assert of_model(parse(text), "both", LIST) == price


def test_an_alias_has_no_price_of_the_list() -> None:
    """It is often the name of somebody else's model."""
    assert of_model(parse(with_model("aliases: [both]")), "a", LIST) is None


def test_the_markup_is_for_the_list_only() -> None:
    run = "cmd: 'run ${PORT}'"
    text = (
        f"models: {{both: {{{run}}}, own: {{{run}, prices: {{input: 1}}}}}}\n"
        "priceList: {url: 'http://h', markup: 1.5}"
    )
    found = {route.model: route.prices for route in route_table(parse(text), 1, LIST).models}
    assert found == {
        "both": Prices(input=Decimal(7), markup=Decimal("1.5")),
        "own": Prices(input=Decimal(1)),
    }


@pytest.mark.parametrize(
    ("keys", "top", "price"),
    [
        ("prices: {'b*': {input: 1}}", "prices: {cloud/both: {input: 2}}", 1),
        ("", "prices: {cloud/both: {input: 2}}", 2),
        ("", "prices: {both: {input: 2}}", 8),  # these are names of models here
        ("", "priceList: {url: 'http://h', provider: zeta}", 8),  # the provider called as the peer
        ("prices: {other: {input: 1}}", "", 8),
    ],
)
def test_models_of_a_peer_cost_what_it_says_or_the_provider_of_its_name(
    keys: str, top: str, price: int
) -> None:
    peer = f"peers: {{cloud: {{proxy: 'http://h', models: [both, unheard-of], {keys}}}}}"
    found = route_table(parse(f"{top}\n{peer}"), 1, LIST).peers["cloud"].prices
    assert found == {"both": Prices(input=Decimal(price))}


def test_then_the_provider_that_was_configured_counts_for_a_peer() -> None:
    text = (
        "priceList: {url: 'http://h', provider: zeta}\n"
        "peers: {p: {proxy: 'http://h', models: [both]}}"
    )
    found = route_table(parse(text), 1, LIST).peers["p"].prices
    assert found == {"both": Prices(input=Decimal(9))}


# --- a list in a file ---------------------------------------------------------------------------


def load(folder: Path, listed: str | None) -> Config:
    path = folder / "prices.json"
    if listed is not None:
        path.write_text(listed)
    (folder / "c.yaml").write_text(
        f"models: {{m: {{cmd: 'run ${{PORT}}'}}}}\npriceList: {{file: {path}}}\n"
    )
    return load_config(folder / "c.yaml", environ={})


def listing(price: float) -> str:
    return json.dumps({"p": {"models": {"m": {"cost": {"input": price}}}}})


def test_a_list_in_a_file_is_read_with_the_configuration(tmp_path: Path) -> None:
    config = load(tmp_path, listing(0.1))
    assert of_model(config, "m") == Decimal("0.1")


def test_other_prices_in_the_file_are_found_by_a_reload(tmp_path: Path) -> None:
    old, new = load(tmp_path, listing(0.1)), load(tmp_path, listing(0.2))
    assert diff(old, new).settings == ("priceList",)
    assert diff(new, load(tmp_path, listing(0.2))).is_empty


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (None, "there is no file "),
        ("", "cannot read the list of prices: "),
        ("<html>", "cannot read the list of prices: "),
        ("{}", "cannot use the list of prices: no model in it has one"),
    ],
)
def test_a_file_without_prices_is_a_mistake(tmp_path: Path, listed: str | None, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, listed)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{tmp_path}/c.yaml:2:19: priceList.file: {told}")


def test_a_folder_in_the_place_of_the_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "prices.json").mkdir()
    with pytest.raises(ConfigError, match=r"priceList\.file: there is no file "):
        load(tmp_path, None)
