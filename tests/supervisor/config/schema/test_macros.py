import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.config.schema import reader as config_reading
from arriero.supervisor.config.schema.macros import MAX_EXPANDED
from arriero.supervisor.errors import ConfigError
from tests.supervisor.config.reading import parse, problems


def command(text: str, **environ: str) -> tuple[str, ...]:
    return parse(text, **environ).models["a"].command


def with_macros(macros: str, used: str, own: str = "{}") -> str:
    return f"macros: {macros}\nmodels: {{a: {{cmd: 'run ${{PORT}} {used}', macros: {own}}}}}\n"


# --- order --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("macros", "used", "own", "words"),
    [
        ("{x: 1}", "${x}", "{}", ("1",)),
        ("{x: 1, y: '${x}${x}'}", "${y}", "{}", ("11",)),
        ("{a: 1, b: '${a}2', c: '${b}3'}", "${c}", "{}", ("123",)),
        ("{a: 1, b: 2, c: '${b}${a}${b}'}", "${c} ${a}", "{}", ("212", "1")),
        ("{x: 'id-${MODEL_ID}'}", "${x}", "{}", ("id-a",)),
        ("{x: '${MODEL_ID}', y: '${x}.gguf'}", "${y}", "{}", ("a.gguf",)),
        ("{x: 1}", "${x}", "{x: 2}", ("2",)),
        ("{x: 1, y: 'v${x}'}", "${y}", "{x: 2}", ("v2",)),
        ("{x: 1, y: 'v${x}'}", "${y}", "{x: '${MODEL_ID}'}", ("va",)),
        ("{x: 1, y: 'v${x}', z: 'w${y}'}", "${z}", "{y: '${x}${x}'}", ("w11",)),
        ("{x: 1}", "${y}", "{y: 'v${x}'}", ("v1",)),
        ("{x: 1}", "${z}", "{y: '${x}2', z: '${y}3'}", ("123",)),
        ("{p: '--port ${PORT}'}", "${p}", "{}", ("--port", "${PORT}")),
        ("{x: 1, name: x}", "${${name}}", "{}", ("1",)),
        ("{x: 'a b'}", '"${x}"', "{}", ("a b",)),
        ("{x: 'a \"b c\"'}", "${x}", "{}", ("a", "b c")),
        ("{x: ''}", "a${x}b ${x}", "{}", ("ab",)),
        ("{x: 1}", "$${x} $${HOME}", "{}", ("${x}", "${HOME}")),
        ("{x: 5}", "${N:-${x}} ${#L[@]} ${x", "{}", ("${N:-5}", "${#L[@]}", "${x")),
        ("{x: '${N:-1}', y: '${x}'}", "${y}", "{}", ("${N:-1}",)),
        ("{x: 5}", "$x $(x) {x}", "{}", ("$x", "$(x)", "{x}")),
        ("{A-b_9: 1}", "${A-b_9}", "{}", ("1",)),
    ],
)  # fmt: skip
def test_macros_are_replaced_from_the_last_to_the_first(
    macros: str, used: str, own: str, words: tuple[str, ...]
) -> None:
    assert command(with_macros(macros, used, own))[2:] == words


@pytest.mark.parametrize(
    ("macros", "own", "told"),
    [
        ("{x: '${y}', y: 1}", "{}", "1:13: macros.x: unknown macro ${y}"),
        ("{x: 1, y: '${x}'}", "{x: '${y}'}", "models.a.macros.x: unknown macro ${y}"),
        ("{}", "{x: '${y}', y: 1}", "models.a.macros.x: unknown macro ${y}"),
        ("{x: '${y}'}", "{y: 1}", "macros.x: unknown macro ${y}"),
        ("{x: '${nope}'}", "{}", "macros.x: unknown macro ${nope}"),
        ("{}", "{x: '${nope}'}", "models.a.macros.x: unknown macro ${nope}"),
        ("{x: '${x}'}", "{}", "macros.x: unknown macro ${x}: a macro cannot use itself"),
        ("{x: 'a ${x} b'}", "{}", "macros.x: unknown macro ${x}: a macro cannot use itself"),
        ("{}", "{x: '${x}'}", "models.a.macros.x: unknown macro ${x}: a macro cannot use itself"),
        ("{x: 1}", "{x: '${x}2'}", "models.a.macros.x: unknown macro ${x}: a macro cannot use"),
        ("{x: '${env.NOPE}'}", "{}", "macros.x: the environment has no variable NOPE"),
    ],
)
def test_a_macro_may_use_only_those_before_it(macros: str, own: str, told: str) -> None:
    (found,) = problems(with_macros(macros, "${x}", own))
    assert told in found


def test_a_name_that_a_later_macro_makes_is_not_looked_up_again() -> None:
    (told,) = problems(with_macros("{name: x, x: 1}", "${${name}}"))
    assert "models.a.cmd: unknown macro ${x}" in told


def test_a_macro_of_one_model_is_unknown_to_another() -> None:
    text = "models:\n  a: {cmd: 'run ${PORT}', macros: {x: 1}}\n  b: {cmd: 'run ${PORT} ${x}'}\n"
    assert problems(text) == [
        "c.yaml:3:12: models.b.cmd: unknown macro ${x}; known are: API_KEY, MODEL_ID, PORT"
    ]


def test_a_macro_with_another_case_is_suggested() -> None:
    (told,) = problems(with_macros("{ctx-size: 1}", "${ctx_size}"))
    assert told.endswith("did you mean ${ctx-size}?")


# --- declarations -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PORT", "PID", "MODEL_ID"])
def test_reserved_names_cannot_be_declared(name: str) -> None:
    assert problems(with_macros(f"{{{name}: 1}}", "", f"{{{name}: 1}}")) == [
        f"c.yaml:1:10: macros.{name}: this name is taken: it is filled in by arriero",
        f"c.yaml:2:44: models.a.macros.{name}: this name is taken: it is filled in by arriero",
    ]


@pytest.mark.parametrize("name", ["a.b", "a b", "x" * 64, "''", "\u00e4", "a/b", "${x}", "env.X"])
def test_a_name_has_up_to_63_letters_digits_and_dashes(name: str) -> None:
    found = problems(with_macros(f"{{{name}: 1}}", f"${{{name}}}", f"{{{name}: 1}}"), X="1")
    shown = name.strip("'")[:60]
    assert [told.partition(": ")[2] for told in found] == [
        f"{where}.{shown}: write a name of 1 to 63 letters, digits, _ or -"
        for where in ("macros", "models.a.macros")
    ]


def test_a_name_of_63_characters_will_do() -> None:
    name = "x" * 63
    assert command(with_macros(f"{{{name}: 1}}", f"${{{name}}}"))[2:] == ("1",)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("on", "on"),
        ("true", "true"),
        ("False", "false"),
        ("42", "42"),
        ("-7", "-7"),
        ("5.0", "5"),
        ("0.70", "0.7"),
        ("1e-7", "1e-07"),
        ("1_000", "1000"),
        ("'08'", "08"),
        ("'null'", "null"),
    ],
)
def test_a_macro_within_a_text_has_the_text_of_its_value(written: str, text: str) -> None:
    assert command(with_macros(f"{{x: {written}}}", "v=${x}"))[-1] == f"v={text}"


@pytest.mark.parametrize("value", ["[1]", "[]", "{a: 1}", "{}", "null", "", "~"])
def test_a_macro_that_is_no_single_value_is_one_mistake_where_it_is_declared(value: str) -> None:
    for text, where in (
        (with_macros(f"{{x: {value}}}", "${x}"), "macros.x"),
        (with_macros("{}", "${x}", f"{{x: {value}}}"), "models.a.macros.x"),
    ):
        (told,) = problems(text)
        assert told.endswith(f": {where}: write a text, a number or a truth value")


@pytest.mark.parametrize("macros", ["[a]", "a", "1"])
def test_macros_are_a_mapping(macros: str) -> None:
    (told,) = problems(f"macros: {macros}\nmodels: {{a: {{cmd: 'run ${{PORT}}'}}}}")
    assert told.endswith("macros: write a mapping of names to values")


def test_a_broken_macro_is_told_once_where_it_is_declared() -> None:
    text = "macros: {x: '${nope}'}\nmodels:\n" + "".join(
        f"  m{number}: {{cmd: 'run ${{PORT}} ${{x}}'}}\n" for number in range(9)
    )
    (told,) = problems(text)
    assert told.startswith("c.yaml:1:13: macros.x: unknown macro ${nope}")


# --- limits -------------------------------------------------------------------------------------


def test_macros_that_double_each_other_are_stopped() -> None:
    rows = [f"  m{n}: ${{m{n - 1}}}${{m{n - 1}}}\n" for n in range(1, 40)]
    text = "macros:\n  m0: x\n" + "".join(rows) + "models: {a: {cmd: 'run ${PORT} ${m39}'}}"
    assert f"longer than {MAX_EXPANDED}" in problems(text)[0]


def test_macros_that_fill_the_memory_together_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_reading, "MAX_EXPANDED_TOTAL", 10_000)
    text = f"macros: {{x: {'x' * 1000}}}\nmodels:\n" + "".join(
        f"  m{number}: {{cmd: 'run ${{PORT}} ${{x}}'}}\n" for number in range(20)
    )
    assert "make more of this than fits" in problems(text)[0]


# --- anything -----------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
USES = st.sampled_from(["${a}", "${b}", "${c}", "${MODEL_ID}", "x", "-"])
TEXTS = st.lists(USES, max_size=4).map("".join)
MACROS = st.dictionaries(NAMES, TEXTS, max_size=3)


def replaced(text: str, macros: dict[str, str]) -> str:
    """The rule of llama-swap, as short as it can be said."""
    for name, value in reversed([("MODEL_ID", "a"), *macros.items()]):
        text = text.replace(f"${{{name}}}", value)
    return text


def are_in_order(macros: dict[str, str]) -> bool:
    names = ["MODEL_ID", *macros]
    return all(
        set(re.findall(r"{(\w+)}", value)) <= set(names[: names.index(name)])
        for name, value in macros.items()
    )


@given(MACROS, MACROS, TEXTS)
def test_any_macros_are_replaced_by_the_rule_or_told(
    macros: dict[str, str], own: dict[str, str], used: str
) -> None:
    all_macros = macros | own
    expected = replaced(used, all_macros)
    is_good = are_in_order(macros) and are_in_order(all_macros) and "${" not in expected
    text = (
        f"macros: {macros!r}\nmodels: {{a: {{cmd: '${{PORT}}', name: '{used}', macros: {own!r}}}}}"
    )
    if is_good:
        assert parse(text).models["a"].name == expected
    else:
        assert problems(text)


PIECES = st.lists(
    st.sampled_from(["a", "b", "c", "PORT", "PID", "MODEL_ID", "env.X", "env.Y", ""]).map(
        lambda name: f"${{{name}}}"
    )
    | st.sampled_from(["$", "${", "}", "x", "$${"]),
    max_size=5,
).map("".join)


@given(st.dictionaries(NAMES, PIECES), st.dictionaries(NAMES, PIECES), PIECES)
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
