import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.llamacpp.presets_ini import MAX_LINES, Section, Setting, read_ini


def test_sections_have_their_settings_with_lines() -> None:
    text = "version = 1\n\n; all\n[*]\nc=8192 # twice\n\t ngl =  99\r\n[a/b:Q8_0] ; x\rm = /x y\n"

    assert read_ini(text) == (
        [
            Section("*", 4, [Setting("c", "8192", 5), Setting("ngl", "99", 6)]),
            Section("a/b:Q8_0", 7, [Setting("m", "/x y", 8)]),
        ],
        [],
    )


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("[a\n", "line 1: cannot read this line"),
        ("[]\n", "line 1: cannot read this line"),
        ("[a] b\n", "line 1: cannot read this line"),
        ("\nwhat is this", "line 2: cannot read this line"),
        ("[a]\n--model = x", "line 2: cannot read this line"),
        ("c = 1\n[a]\n", "line 1: c stands above all sections"),
        ("[a]\nc = 1\n[a]\n", "line 3: section [a] was there in line 1"),
        ("[a]\ns = top_k;top_p", "line 2: what follows the ';' was left out"),
        ("[a]\ns = x\0y", "line 2: this line was left out"),
        ("[a]\ns = " + "x" * 70_000, "line 2: this line was left out"),
        ("\n" * MAX_LINES + "x", f"line {MAX_LINES}: nothing is read from here on"),
    ],
)
def test_each_mistake_is_told_with_its_line(text: str, remark: str) -> None:
    (found,) = read_ini(text)[1]

    assert str(found).startswith(remark)


def test_a_section_that_comes_twice_counts_as_it_is_written_last() -> None:
    (section,) = read_ini("[a]\nc = 1\n[a]\nm = x\n")[0]

    assert section == Section("a", 3, [Setting("m", "x", 4)])


@given(st.text(st.sampled_from("[]=;#\n\r\t ab*\0\ufeff.-"), max_size=60) | st.text())
def test_any_text_gives_sections_and_remarks(text: str) -> None:
    sections, remarks = read_ini(text)

    lines = [section.line for section in sections] + [remark.line for remark in remarks]
    assert all(1 <= line <= text.count("\n") + text.count("\r") + 1 for line in lines)
