"""Keys of clients that are good for nothing, and budgets that nothing uses up."""

from pathlib import Path

from arriero.supervisor.config.lint.lint import advise
from arriero.supervisor.config.yaml.tree import parse_yaml
from tests.supervisor.config.reading import parse

CONFIG = """\
models:
  a: {{cmd: 'run ${{PORT}}', aliases: [alpha], prices: {{input: 0, output: 1}}}}
  b: {{cmd: 'run ${{PORT}}'}}
  there: {{proxy: 'http://10.0.0.1:1', usage: observe}}
selectors: {{any: {{strategy: pin, targets: [b]}}}}
profiles: {{night: {{pins: {{pinned: b}}}}}}
peers: {{far: {{proxy: 'http://10.0.0.1:1', models: [x, y]}}}}
prices: {{far/x: {{input: 1, output: 1}}}}
clientKeys: {{k: {{hash: 'sha256:{digits}', {said}}}}}
{more}
"""


class Disk:
    """A machine that has all."""

    def is_file(self, path: Path) -> bool:
        return True

    def is_program(self, name: str, path: str | None) -> bool:
        return True


def told(said: str, more: str = "") -> list[str]:
    text = CONFIG.format(said=said, digits="0a" * 32, more=more)
    root = parse_yaml(text, "c.yaml")
    assert root is not None
    found = advise(parse(text), root, Disk()).warnings
    return [
        f"{it.path.removeprefix('clientKeys.k.')}: {it.message}"
        for it in found
        if "clientKeys" in it.path
    ]


def test_what_a_key_is_good_for_is_there() -> None:
    for fits in ("a", "alph?", "[xb]", "y", "far/*", "any", "pinned", "there", "*"):
        assert told(f"models: ['{fits}']") == []
    assert told("models: [b, 'c*', A]") == [
        "models: no model, and no selector, is called like 'c*'",
        "models: no model, and no selector, is called like 'A'",
    ]
    assert told("models: []") == ["models: no model may be used with it; leave this out for all"]
    assert told("scopes: []") == ["scopes: without any scope the key is good for nothing"]
    assert told("concurrency: 3, scopes: [read]") == []


def test_a_budget_can_be_used_up() -> None:
    for fits in ("a", "alpha", "far/x", "x"):
        assert told(f"dailyCost: 1, models: ['{fits}']") == []
    assert told("dailyTokens: 5, models: [a, b]") == []
    for name, shown in (("b", "'b'"), ("any", "'b'"), ("[yb]", "'b', 'far/y'")):
        (warning,) = told(f"dailyCost: 1, models: ['{name}']")
        assert warning.startswith(f"dailyCost: no price is known of {shown}, so what is used")
    assert told("dailyCost: 1, models: [b]", "priceList: {url: 'http://10.0.0.1/p'}") == []
    assert told("dailyCost: 0, models: [b]") == []
    free, silent = told("dailyCost: 1")
    assert silent.startswith("dailyCost: streams of 'there' are not asked for what they use")
    assert free.startswith("dailyCost: no price is known of 'b', 'there', 'far/y', so")
    (warning,) = told("dailyTokens: 5, scopes: [read], models: [a]")
    assert warning.startswith("dailyTokens: nothing uses it up: without the scope 'infer'")
