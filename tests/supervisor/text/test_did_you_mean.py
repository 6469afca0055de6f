import pytest

from arriero.supervisor.text.did_you_mean import did_you_mean


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
