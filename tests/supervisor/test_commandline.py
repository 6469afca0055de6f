import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.commandline import split_command, without_comments


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ()),
        ("  \n\t ", ()),
        ("# all of it", ()),
        ("a # not comment", ("a", "#", "not", "comment")),
        ("a\n  # gone\nb", ("a", "b")),
        ("a \\\n  b\\\nc", ("a", "b", "c")),
        (r"C:\x\y.exe", ("C:xy.exe",)),
        (r'"\$x" "\q" \q', ("$x", r"\q", "q")),
        ("""'{"k": "v"}'""", ('{"k": "v"}',)),
        ("""a"b c"'d e'f""", ("ab cd ef",)),
        ("""a "" b""", ("a", "", "b")),
        ("'open to the end", ("open to the end",)),
        ("a ${PORT}", ("a", "${PORT}")),
        ("a\r\n# gone\r\nb", ("a", "b")),
        ("a 'x\ny'", ("a", "x\ny")),
        ("a x\u2028# b", ("a", "x\u2028#", "b")),
    ],
)
def test_commands_are_split_as_llama_swap_does(command: str, words: tuple[str, ...]) -> None:
    assert split_command(command) == words


def test_comment_lines_go_before_anything_else_is_looked_at() -> None:
    assert without_comments("a\n # ${nope}\nb") == "a\nb"


@given(st.text())
def test_any_text_can_be_split(text: str) -> None:
    assert all(isinstance(word, str) for word in split_command(text))
