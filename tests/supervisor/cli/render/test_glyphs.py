"""Characters, widths and bars."""

import pytest

from arriero.supervisor.cli.render.glyphs import (
    ASCII,
    UNICODE,
    Glyphs,
    bar,
    cut,
    glyphs_for,
    padded,
    plain,
    width_of,
)


@pytest.mark.parametrize(
    ("environ", "glyphs"),
    [
        ({}, ASCII),
        ({"LANG": "C"}, ASCII),
        ({"LANG": "de_DE.UTF-8"}, UNICODE),
        ({"LANG": "de_DE.utf8"}, UNICODE),
        ({"LANG": "de_DE.ISO-8859-1"}, ASCII),
        ({"LANG": "C.UTF-8"}, UNICODE),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, ASCII),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, UNICODE),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, ASCII),  # Python's own doing
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, UNICODE),
    ],
)
def test_the_locale_says_what_a_terminal_knows(environ: dict[str, str], glyphs: Glyphs) -> None:
    assert glyphs_for(environ) == glyphs


def test_bars_are_full_only_when_all_is_done() -> None:
    drawn = [bar(share, 4, ASCII) for share in (-1.0, 0.0, 0.3, 0.999, 1.0, 2.0)]

    assert drawn == ["....", "....", "#...", "###.", "####", "####"]


def test_texts_are_cut_to_columns() -> None:
    assert [width_of(text) for text in ("ab", "名前", "e\u0301", "")] == [2, 4, 1, 0]
    assert cut("名前が", 5, UNICODE) == "名前…"
    assert cut("名前が", 4, UNICODE) == "名…"
    assert cut("abcdef", 3, ASCII) == "ab~"
    assert cut("abc", 0, ASCII) == ""
    assert padded("ab", 4, ASCII, right=True) == "  ab"
    assert padded("名前が", 4, UNICODE) == "名… "
    assert plain("\x1b[31mé\tx\udc80", UNICODE) == "é x?"
    assert plain("\x07é", ASCII) == "\\x07?"
