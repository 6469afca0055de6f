import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor import config_reading
from arriero.supervisor.config import parse_config
from arriero.supervisor.config_macros import MAX_EXPANDED
from arriero.supervisor.errors import ConfigError


def command(text: str, **environ: str) -> tuple[str, ...]:
    return parse_config(text, "c.yaml", environ=environ).models["a"].command


def mistakes(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        command(text, **environ)
    return [str(problem) for problem in caught.value.problems]


def with_macros(macros: str, used: str, own: str = "{}") -> str:
    return f"macros: {macros}\nmodels: {{a: {{cmd: 'run ${{PORT}} {used}', macros: {own}}}}}\n"


@pytest.mark.parametrize(
    ("macros", "used", "own", "words"),
    [
        ("{x: 1}", "${x}", "{}", ("1",)),
        ("{x: 1, y: '${x}${x}'}", "${y}", "{}", ("11",)),
        ("{a: 1, b: '${a}2', c: '${b}3'}", "${c}", "{}", ("123",)),
        ("{x: 'id-${MODEL_ID}'}", "${x}", "{}", ("id-a",)),
        ("{x: 1}", "${x}", "{x: 2}", ("2",)),
        ("{x: 1, y: 'v${x}'}", "${y}", "{x: 2}", ("v2",)),
        ("{x: 1}", "${y}", "{y: 'v${x}'}", ("v1",)),
        ("{p: '--port ${PORT}'}", "${p}", "{}", ("--port", "${PORT}")),
        ("{name: x, x: 1}", "${${name}}", "{}", ()),
        ("{x: 1, name: x}", "${${name}}", "{}", ("1",)),
        ("{x: 'a b'}", '"${x}"', "{}", ("a b",)),
        ("{x: 1}", "$${x} $${HOME}", "{}", ("${x}", "${HOME}")),
    ],
)
def test_macros_are_replaced_from_the_last_to_the_first(
    macros: str, used: str, own: str, words: tuple[str, ...]
) -> None:
    text = with_macros(macros, used, own)
    if words:
        assert command(text)[2:] == words
    else:
        assert "unknown macro ${x}" in mistakes(text)[0]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("on", "on"),
        ("true", "true"),
        ("5.0", "5"),
        ("0.70", "0.7"),
        ("1_000", "1000"),
        ("'08'", "08"),
    ],
)
def test_a_macro_within_a_text_has_the_text_of_its_value(written: str, text: str) -> None:
    assert command(with_macros(f"{{x: {written}}}", "v=${x}"))[-1] == f"v={text}"


def test_a_value_that_is_a_macro_has_its_type() -> None:
    text = "macros: {n: 60, s: '60', no: false}\nmodels: {a: {cmd: 'run ${PORT}', ttl: '${%s}'}}"
    model = parse_config(text % "n", environ={}).models["a"]
    assert model.ttl_s == 60
    with pytest.raises(ConfigError, match=r"write a whole number"):
        parse_config(text % "s", environ={})


def test_a_start_port_may_be_a_macro() -> None:
    text = "macros: {p: 9000}\nstartPort: ${p}\nmodels: {a: {cmd: 'run ${PORT}'}}"
    assert parse_config(text, environ={}).start_port == 9000


def test_a_macro_in_a_line_of_comment_is_not_looked_at() -> None:
    text = "models:\n  a:\n    cmd: |\n      run ${PORT}\n      # ${nope} ${env.NOPE}\n"
    assert command(text) == ("run", "${PORT}")


def test_a_macro_of_one_model_is_unknown_to_another() -> None:
    text = "models:\n  a: {cmd: 'run ${PORT}', macros: {x: 1}}\n  b: {cmd: 'run ${PORT} ${x}'}\n"
    assert mistakes(text) == [
        "c.yaml:3:12: models.b.cmd: unknown macro ${x}; known are: MODEL_ID, PORT"
    ]


def test_a_broken_macro_is_told_once_where_it_is_declared() -> None:
    text = "macros: {x: '${nope}'}\nmodels:\n" + "".join(
        f"  m{number}: {{cmd: 'run ${{PORT}} ${{x}}'}}\n" for number in range(9)
    )
    assert len(mistakes(text)) == 1
    assert mistakes(text)[0].startswith("c.yaml:1:13: macros.x: unknown macro ${nope}")


@pytest.mark.parametrize("name", ["PORT", "PID", "MODEL_ID", "a.b", "x" * 64, "''"])
def test_some_names_cannot_be_declared(name: str) -> None:
    assert (
        f"models.a.macros.{name.strip(chr(39))[:60]}: "
        in mistakes(with_macros("{}", "", f"{{{name}: 1}}"))[0]
    )


def test_a_variable_that_is_not_set_is_a_mistake_unless_only_a_comment_names_it() -> None:
    text = "models: {a: {cmd: 'run ${PORT} ${env.X}'}}  # ${env.NOPE}"
    assert command(text, X="")[2:] == ()
    assert "the environment has no variable X" in mistakes(text)[0]
    assert "a line end" in mistakes(text, X="s3cret\n")[0]


def test_what_the_environment_gives_is_not_looked_at_again() -> None:
    text = "models: {a: {cmd: 'run ${PORT}', env: ['P=${env.P}']}}"
    config = parse_config(text, environ={"P": 'p${y}$${z}"\\'})
    assert config.models["a"].env == (("P", 'p${y}$${z}"\\'),)


def test_macros_that_double_each_other_are_stopped() -> None:
    rows = [f"  m{n}: ${{m{n - 1}}}${{m{n - 1}}}\n" for n in range(1, 40)]
    text = "macros:\n  m0: x\n" + "".join(rows) + "models: {a: {cmd: 'run ${PORT} ${m39}'}}"
    assert f"longer than {MAX_EXPANDED}" in mistakes(text)[0]


def test_macros_that_fill_the_memory_together_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_reading, "MAX_EXPANDED_TOTAL", 10_000)
    text = f"macros: {{x: {'x' * 1000}}}\nmodels:\n" + "".join(
        f"  m{number}: {{cmd: 'run ${{PORT}} ${{x}}'}}\n" for number in range(20)
    )
    assert "macros make more of this than fits" in mistakes(text)[0]


NAMES = st.sampled_from(["a", "b", "c", "PORT", "PID", "MODEL_ID", "env.X", "env.Y", ""])
PIECES = st.lists(
    NAMES.map(lambda name: f"${{{name}}}") | st.sampled_from(["$", "${", "}", "x", "$${"]),
    max_size=5,
).map("".join)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), PIECES),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), PIECES),
    PIECES,
)
def test_any_macros_give_a_command_without_macros_or_mistakes(
    macros: dict[str, str], own: dict[str, str], used: str
) -> None:
    text = f"macros: {macros!r}\nmodels: {{a: {{cmd: 'run ${{PORT}} {used}', macros: {own!r}}}}}"
    try:
        words = command(text, X="1")
    except ConfigError:
        return
    if "$${" not in text:
        assert not any(f"${{{name}}}" in word for word in words for name in ("a", "env.X", "PID"))
