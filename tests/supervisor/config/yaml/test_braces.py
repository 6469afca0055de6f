r"""What a YAML parser gets to see of ``${name}``, and what is made of its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.config.yaml.braces import Braces

OPEN, CLOSE = "\uf8f0", "\uf8f1"  # the first two that may stand for a brace


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("a: ${x}", f"a: ${OPEN}x{CLOSE}"),
        ("[${a}, ${b}]", f"[${OPEN}a{CLOSE}, ${OPEN}b{CLOSE}]"),
        ("${}", f"${OPEN}{CLOSE}"),
        ("a: {b: ${x}}", f"a: {{b: ${OPEN}x{CLOSE}}}"),
        ("${a}${b}", f"${OPEN}a{CLOSE}${OPEN}b{CLOSE}"),
        ("a: {b: c}", "a: {b: c}"),
        ("${a b}", "${a b}"),
        ("${a,b}", "${a,b}"),
        ("${'a'}", "${'a'}"),
        ("$ {a}", "$ {a}"),
        ("${a", "${a"),
    ],
)
def test_only_uses_of_macros_are_hidden(text: str, hidden: str) -> None:
    assert Braces(text).hide(text) == hidden


@pytest.mark.parametrize(
    ("text", "opening", "closing"),
    [
        ("${x}", OPEN, CLOSE),
        (f"{OPEN} ${{x}}", CLOSE, "\uf8f2"),
        (r'"\uF8F0" ${x}', CLOSE, "\uf8f2"),  # as an escape
        ("{x}", "", ""),
    ],
)
def test_a_stand_in_is_not_in_the_text(text: str, opening: str, closing: str) -> None:
    braces = Braces(text)

    assert (braces.opening, braces.closing) == (opening, closing)


def test_without_a_free_character_nothing_is_hidden() -> None:
    text = "${x}" + "".join(map(chr, range(0xF8F0, 0xF8FF)))  # one is free, and two are needed

    assert Braces(text).hide(text) == text


def test_a_message_shows_the_braces() -> None:
    assert Braces("${x}").show_quoted(r"found '\uf8f0' or '\uf8f1'") == "found '{' or '}'"
    assert Braces("x").show_quoted(r"found '\uf8f0'") == r"found '\uf8f0'"


@given(st.text("${}ab ,[]'\"\n" + OPEN, max_size=30))
def test_any_text_comes_back_at_its_place(text: str) -> None:
    braces = Braces(text)
    hidden = braces.hide(text)

    assert len(hidden) == len(text)
    if braces.opening:
        assert braces.show(hidden) == text
    else:
        assert hidden == text
