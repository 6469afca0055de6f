"""Keys of clients with rights and limits, as the configuration has them."""

from decimal import Decimal

import pytest

from arriero.protocol.worker_config import ClientKey
from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.worker_config import route_table
from arriero.supervisor.generate.client_key import hash_of, new_key
from tests.supervisor.config.reading import parse, problems

MODELS = "models: {a: {cmd: 'run ${PORT}'}}\n"
HASH = "sha256:" + "0a" * 32


def test_a_new_key_is_known_by_its_lines() -> None:
    made = new_key(
        "me@laptop",
        scopes=("infer", "admin"),
        models=("q*", "a: '${x}"),
        concurrency=3,
        daily_tokens=5,
        daily_cost=Decimal("1.50"),
    )
    config = parse(made.lines + MODELS)

    assert hash_of(made.key) == made.hash
    assert made.key not in made.lines
    assert (len(made.key), made.key[:4]) == (47, "arr-")
    assert route_table(config).client_keys == (
        ClientKey(
            name="me@laptop",
            sha256=made.hash.removeprefix("sha256:"),
            scopes=("infer", "admin"),
            models=("q*", "a: '${x}"),
            is_limited=True,
        ),
    )
    found = config.client_keys["me@laptop"]
    assert (found.concurrency, found.daily_tokens, found.daily_cost) == (3, 5, Decimal("1.5"))
    assert parse(dump(config)) == config


def test_a_key_is_good_for_little_by_default() -> None:
    made, other = new_key("k"), new_key("k")
    config = parse(made.lines + MODELS)
    (key,) = route_table(config).client_keys

    assert made.key != other.key
    assert config.asks_for_keys
    assert (key.scopes, key.models, key.is_limited) == (("infer",), None, False)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("{k: {scopes: [infer]}}", "clientKeys.k.hash: there is no hash; make a key with: arriero"),
        ("{k: {hash: arr-secret}}", "clientKeys.k.hash: this is no hash; write sha256: and 64"),
        ("{k: {hash: sha256:arr-secret}}", "clientKeys.k.hash: this is no hash"),
        (f"{{k: {{hash: {HASH}, scopes: [root]}}}}", "clientKeys.k.scopes.0: "),
        (f"{{k: {{hash: {HASH}, concurrency: -1}}}}", "clientKeys.k.concurrency: "),
        (f"{{k: {{hash: {HASH}, dailyCost: .inf}}}}", "clientKeys.k.dailyCost: "),
        (f"{{k: {{hash: {HASH}, models: ['']}}}}", "clientKeys.k.models.0: "),
        (f"{{'a b': {{hash: {HASH}}}}}", "clientKeys.a b: the name of a key is"),
        (f"{{k: {{hash: {HASH}}}, l: {{hash: {HASH}}}}}", "clientKeys.l: this is the same key as"),
        ("[arr-secret]", "clientKeys: "),
    ],
)
def test_a_key_that_makes_no_sense_is_told(keys: str, told: str) -> None:
    found = problems(f"clientKeys: {keys}\n{MODELS}")

    assert any(told in problem for problem in found), found
    assert not any("arr-secret" in problem for problem in found)
