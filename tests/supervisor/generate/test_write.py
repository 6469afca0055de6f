"""What is written is read back by the real reader."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arriero.supervisor.config.load import parse_config
from arriero.supervisor.generate.write import Entry, can_be_id, document, words
from arriero.supervisor.text.command_line import split_command

# What no argument of a program can hold, and no file in UTF-8.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
PIECES = st.sampled_from(
    [*"'\"\\#\n\r \t${}a:|`\x1b\x85\u2028\ufeff\uf8f0é😀", "${", "PORT", "env.HOME", "- "]
)
VALUES = st.lists(st.one_of(ANY, st.lists(PIECES, max_size=8).map("".join)), max_size=4)
LETTERS = st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ${}'#:")
NAMES = st.text(LETTERS, max_size=30).map(str.strip).filter(can_be_id)


@settings(deadline=None)
@given(VALUES)
@example(["a\n# b", "c\\\nd", "x \\", ""])
def test_words_are_split_into_what_they_were(values: list[str]) -> None:
    assert split_command(words(*values).replace("$${", "${")) == tuple(values)


@settings(deadline=None)
@given(VALUES)
@example(["${PORT}", "$${PORT}", "$$${env.HOME}", "${"])
def test_any_value_of_a_command_survives_the_file(values: list[str]) -> None:
    text = document([Entry(model="m", command=["serve --port ${PORT}", *map(words, values)])])

    config = parse_config(text, environ={})

    assert config.models["m"].command == ("serve", "--port", "${PORT}", *values)
    assert not config.warnings


@settings(deadline=None)
@given(VALUES)
def test_any_value_survives_in_a_macro(values: list[str]) -> None:
    macros = {"common": ["serve --port ${PORT}", *map(words, values)]}
    text = document([Entry(model="m", command=["${common}"])], macros=macros)

    assert parse_config(text, environ={}).models["m"].command[3:] == tuple(values)


@settings(deadline=None)
@given(NAMES, NAMES, NAMES, ANY)
@example("m", "n", "a", "x\u20280: y\x85z")
def test_names_and_remarks_of_any_kind_survive(
    model: str, name: str, alias: str, remark: str
) -> None:
    entry = Entry(
        model=model, command=["serve --port ${PORT}"], name=name, description=name,
        aliases=[alias], env=[f"A={name}"], unload_timeout_s=7, remarks=[remark],
    )  # fmt: skip
    text = document([entry], remarks=[remark], preload=[model])

    config = parse_config(text, environ={})

    (found,) = config.models.values()
    assert (found.model, found.name, found.env) == (model, name, (("A", name),))
    assert found.aliases == (() if alias == model else (alias,))
    assert (config.preload, found.unload_timeout_s) == ((model,), 7)


@pytest.mark.parametrize("name", ["1.10", "yes", "null", "a: b", "- x", "#x", "2024-01-01", "~"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(name: str) -> None:
    text = document([Entry(model=name, command=["serve --port ${PORT}"], name=name)])

    assert parse_config(text, environ={}).models[name].name == name


def test_a_configuration_looks_like_this() -> None:
    entry = Entry(
        model="qwen", command=["${server}", words("-m", "/my models/q.gguf")], name="Qwen",
        remarks=["a remark"],
    )  # fmt: skip

    assert document([entry], remarks=["top"], macros={"server": ["serve --port ${PORT}"]}) == (
        "# top\n\nmacros:\n  server: |-\n    serve --port ${PORT}\n\nmodels:\n"
        "  # a remark\n  qwen:\n    name: Qwen\n    cmd: |-\n      ${server}\n"
        "      -m '/my models/q.gguf'\n\n"
    )
