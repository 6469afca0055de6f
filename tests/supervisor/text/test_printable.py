import pytest

from arriero.supervisor.text.printable import clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb", r"a\x0db"),
        ("evil\u202egpj", r"evil\x202egpj"),
    ],
)
def test_text_of_others_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown
