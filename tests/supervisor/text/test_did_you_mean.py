import pytest

from arriero.supervisor.text.did_you_mean import did_you_mean, meant_or_there


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("qwem", ["gemma", "qwen"], "; did you mean 'qwen'?"),
        ("QWEN", ["qwen2", "qwen"], "; did you mean 'qwen'?"),  # only its case is another
        ("healthcheck", ["healthCheckTimeout"], "; did you mean 'healthCheckTimeout'?"),
        ("llama", ["gemma", "qwen"], ""),
        ("qwen", [], ""),
        ("", ["qwen"], ""),
        ("q" * 100_000 + "wen", ["qwen"], ""),
        ("a1999", [f"a{number}" for number in range(3000)], "; did you mean 'a1999'?"),
        ("x2500", [*["a"] * 2000, "x2500"], ""),  # more are not searched
    ],
)
def test_the_name_most_like_it_is_named(name: str, known: list[str], meant: str) -> None:
    assert did_you_mean(name, known) == meant


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("qwem", ["gemma", "qwen"], "; did you mean 'qwen'?"),
        ("llama", ["gemma", "qwen"], "; there are 'gemma' and 'qwen'"),
        ("llama", ["qwen"], "; there is 'qwen'"),
        ("llama", [], ""),
        ("llama", ["q" * 300], f"; there is '{'q' * 100}'"),
        ("zz", list("abcdefghi"), "; there are 'a', 'b', 'c', 'd', 'e', 'f' and 3 more"),
    ],
)
def test_if_none_is_alike_some_are_named(name: str, known: list[str], told: str) -> None:
    assert meant_or_there(name, known) == told
