import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.text.command_line import join_command, split_command, without_comments


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ()),
        ("  \n\t ", ()),
        ("# all of it", ()),
        ("#", ()),
        ("a # not comment", ("a", "#", "not", "comment")),
        ("a\n  # gone\nb", ("a", "b")),
        ("# first\n\na\n\t#b\n  c", ("a", "c")),
        ("a --x#y '#z'", ("a", "--x#y", "#z")),
        ("a \\\n  b\\\nc", ("a", "b", "c")),
        ("a \\\n# gone\nb \\ \nc\\", ("a", "b", "c")),
        ("a 'x \\\ny'", ("a", "x  y")),
        (r"C:\x\y.exe", ("C:xy.exe",)),
        (r'"\$x" "\q" \q', ("$x", r"\q", "q")),
        ("""'{"k": "v"}'""", ('{"k": "v"}',)),
        (r"""'a\' b""", ("a\\", "b")),
        ("""a"b c"'d e'f""", ("ab cd ef",)),
        ("""a "" b''""", ("a", "", "b")),
        ("'open to the end", ("open to the end",)),
        ('a "open to the end', ("a", "open to the end")),
        ("a ~ $HOME * | > &&", ("a", "~", "$HOME", "*", "|", ">", "&&")),
        ("a ${PORT}", ("a", "${PORT}")),
        ("a\r\n# gone\r\nb", ("a", "b")),
        ("a 'x\ny'", ("a", "x\ny")),
        ("a x\u2028# b", ("a", "x\u2028#", "b")),
    ],
)
def test_commands_are_split_as_llama_swap_does(command: str, words: tuple[str, ...]) -> None:
    assert split_command(command) == words


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("", ""),
        ("# all of it", ""),
        ("# one\n  # two", ""),
        ("a\n # ${nope}\nb", "a\nb"),
        ("a\n\nb\n", "a\n\nb\n"),
        ("a # stays\n#\nb", "a # stays\nb"),
    ],
)
def test_only_whole_lines_are_comments_and_empty_lines_stay(command: str, left: str) -> None:
    assert without_comments(command) == left


@given(st.text())
def test_any_text_can_be_split(text: str) -> None:
    assert all(isinstance(word, str) for word in split_command(text))


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\\"))))
def test_words_in_the_quotes_of_a_shell_come_back(words: list[str]) -> None:
    assert split_command(shlex.join(words)) == tuple(words)


AWKWARD = st.sampled_from(
    ["\n", "\r\n", "#", "\\", "'", '"', " ", "\t", "$", "${PORT}", "\u2028", "a"]
)


@given(st.lists(st.text() | st.lists(AWKWARD).map("".join)))
def test_words_that_are_joined_come_back(words: list[str]) -> None:
    assert split_command(join_command(words)) == tuple(words)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ((), ""),
        (("a", "-b", "--c=${PORT}", "/d_1.gguf"), "a -b --c=${PORT} /d_1.gguf"),
        (("a b", "", "it's", "#"), r"'a b' '' 'it'\''s' '#'"),
        (("x\n#y",), "'x''\n''#y'"),
    ],
)
def test_words_are_joined_with_as_few_quotes_as_will_do(
    words: tuple[str, ...], command: str
) -> None:
    assert join_command(words) == command
