import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.placement.matrix_parser import (
    MAX_BRACKETS,
    MAX_CHARACTERS,
    Either,
    Name,
    SetName,
    SyntaxMistake,
    Together,
    Tree,
    read_expression,
    tokenize,
    walk,
)

A, B, C, D = map(Name, "abcd")


def test_words_are_names_sets_and_signs_with_the_column_they_begin_at() -> None:
    tokens, mistakes = tokenize("qwen-3.5_x &(+big|\n é2 )")

    assert [(token.kind, token.text, token.column) for token in tokens] == [
        ("name", "qwen-3.5_x", 1),
        ("&", "", 12),
        ("(", "", 13),
        ("set", "big", 14),
        ("|", "", 18),
        ("name", "é2", 21),
        (")", "", 24),
    ]
    assert mistakes == []


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", A),
        ("+x", SetName("x")),
        ("a & b & c", Together((A, B, C))),
        ("a | b | c", Either((A, B, C))),
        ("a & b | c & d", Either((Together((A, B)), Together((C, D))))),
        ("a & (b | c) & d", Together((A, Either((B, C)), D))),
        ("(a & b) & c", Together((Together((A, B)), C))),
        ("((a))", A),
        ("a&+x|b", Either((Together((A, SetName("x"))), B))),
        ("a & a", Together((A, A))),
    ],
)
def test_and_binds_tighter_than_or(text: str, tree: Tree) -> None:
    assert read_expression(text).tree == tree


NOWHERE = "write a name, +set, or an opening bracket"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "the expression is empty; write the names of models"),
        (" \n ", 1, "the expression is empty; write the names of models"),
        ("& a", 1, f"found '&'; {NOWHERE}"),
        ("a && b", 4, f"found '&' after '&'; {NOWHERE}"),
        ("a | | b", 5, f"found '|' after '|'; {NOWHERE}"),
        ("()", 2, f"found ')' after '('; {NOWHERE}"),
        ("a &", 4, "the expression ends after '&'; write a name"),
        ("(", 2, "the expression ends after '('; write a name"),
        ("a b", 3, "found 'b' after 'a'; write & or | between them"),
        ("+x (a)", 4, "found '(' after '+x'; write & or | between them"),
        ("(a) b", 5, "found 'b' after ')'; write & or | between them"),
        ("a & (b | c", 5, "this bracket is not closed; write ')' where it ends"),
        ("a)", 2, "found ')' without '('; remove it, or write both"),
        ("a & + b", 5, "there is no name right after '+'; write the name of a set"),
        (
            "org/model",
            4,
            "found '/'; a model with that in its id needs a short name in vars",
        ),
        (
            "a, b",
            2,
            "found ','; write & for together, | for either, brackets, and +name for another set",
        ),
        (
            "a" * (MAX_CHARACTERS + 1),
            1,
            "the expression has 200,001 characters, and 200,000 are the most; "
            "split it into several sets",
        ),
        (
            "(" * (MAX_BRACKETS + 1) + "a",
            MAX_BRACKETS + 1,
            "there are more than 100 brackets in one another; "
            "write a part of them as a set of its own",
        ),
    ],
)
def test_a_mistake_says_where_what_was_found_and_what_would_do(
    text: str, column: int, message: str
) -> None:
    expression = read_expression(text)

    assert expression.mistakes == (SyntaxMistake(column, message),)
    assert expression.tree is None


def test_all_that_is_no_word_is_told_at_once_and_names_are_known_nevertheless() -> None:
    expression = read_expression("a ? b # +x + (")

    assert [mistake.column for mistake in expression.mistakes] == [3, 7, 12]
    assert [(name.kind, name.text) for name in expression.names] == [
        ("name", "a"),
        ("name", "b"),
        ("set", "x"),
    ]


def test_each_name_is_listed_where_it_stands_first() -> None:
    names = read_expression("b & a & b & +b & +a & +b").names

    assert [(name.kind, name.text, name.column) for name in names] == [
        ("name", "b", 1),
        ("name", "a", 5),
        ("set", "b", 13),
        ("set", "a", 18),
    ]


def test_the_parts_are_walked_before_the_whole_and_from_left_to_right() -> None:
    tree = read_expression("a & (b | c)").tree

    assert tree is not None
    assert list(walk(tree)) == [A, B, C, Either((B, C)), Together((A, Either((B, C))))]


def test_as_many_brackets_as_there_may_be_are_read_and_compared() -> None:
    text = "(a & " * MAX_BRACKETS + "b" + " | c)" * MAX_BRACKETS

    assert read_expression(text).tree == read_expression(text).tree
    assert read_expression(text).mistakes == ()


def test_an_expression_of_the_longest_length_is_read() -> None:
    assert read_expression("a" * MAX_CHARACTERS).mistakes == ()


@given(st.text(st.one_of(st.sampled_from("ab&|()+ \n/"), st.characters())))
def test_any_text_is_read_or_the_mistake_lies_in_it(text: str) -> None:
    expression = read_expression(text)

    assert (expression.tree is None) == bool(expression.mistakes)
    assert all(1 <= mistake.column <= len(text) + 1 for mistake in expression.mistakes)


TREES = st.recursive(
    st.one_of(
        st.from_regex(r"[\w.-]+", fullmatch=True).map(Name),
        st.from_regex(r"[\w.-]+", fullmatch=True).map(SetName),
    ),
    lambda trees: st.one_of(
        st.lists(trees, min_size=2, max_size=4).map(lambda parts: Together(tuple(parts))),
        st.lists(trees, min_size=2, max_size=4).map(lambda parts: Either(tuple(parts))),
    ),
    max_leaves=12,
)


def written(tree: Tree) -> str:
    match tree:
        case Name(text):
            return text
        case SetName(text):
            return f"+{text}"
        case Together(parts):
            return " & ".join(f"({written(part)})" for part in parts)
        case Either(parts):
            return "|".join(
                f"({written(part)})" if isinstance(part, Either) else written(part)
                for part in parts
            )


@given(TREES)
def test_a_tree_that_is_written_is_read_as_the_same_tree(tree: Tree) -> None:
    assert read_expression(written(tree)).tree == tree


def test_nothing_but_words_and_spaces_is_left_out_of_the_words() -> None:
    """Every character of Unicode's first plane is in a word, a space, or a mistake."""
    text = "".join(map(chr, range(1, 0x10000)))
    tokens, mistakes = tokenize(text)

    seen = {token.column for token in tokens} | {mistake.column for mistake in mistakes}
    for match in re.finditer(r"\S+", text):
        assert match.start() + 1 in seen
