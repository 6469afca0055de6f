import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import HeaderRules
from arriero.worker.http.header_rules import PROTECTED, CompiledRules, compile_rules

LINES = [b"Host: x\r\n", b"X-Team: a\r\n", b"x-TEAM: b\r\n", b"X-Teams: c\r\n", b"Empty:\r\n"]


def rules(*, remove: tuple[str, ...] = (), **fields: str) -> CompiledRules:
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    compiled = compile_rules(HeaderRules(remove=remove, set=named))
    assert compiled is not None
    return compiled


def test_no_rules_are_nothing_to_carry_out() -> None:
    assert compile_rules(HeaderRules()) is None


def test_a_field_is_removed_however_it_is_written() -> None:
    assert rules(remove=("X-tEAM", "empty")).apply(LINES) == [LINES[0], LINES[3]]


def test_a_field_that_is_set_is_there_once() -> None:
    assert rules(X_Team="new").apply(LINES) == [*LINES[:1], *LINES[3:], b"X-Team: new\r\n"]


def test_what_is_removed_may_be_set_again() -> None:
    found = rules(remove=("X-Team",), x_team="", Other="o").apply(LINES[1:2])

    assert found == [b"x-team: \r\n", b"Other: o\r\n"]


def test_what_comes_is_not_changed() -> None:
    given_lines = list(LINES)
    rules(X_Team="new").apply(given_lines)

    assert given_lines == LINES


def test_lines_in_one_piece_are_treated_alike() -> None:
    changed = rules(remove=("X-Team",), Other="o")

    assert changed.apply_joined(b"".join(LINES)) == b"".join(changed.apply(LINES))
    assert changed.apply_joined(b"") == b"Other: o\r\n"


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "KEEP-ALIVE", "proxy-connection", "TE", "Trailer", "Transfer-Encoding",
        "Upgrade", "Content-Length", "Host", "Expect", "Proxy-Authorization", "HTTP2-Settings",
        "Proxy-Authenticate",
    ],
)  # fmt: skip
def test_what_frames_a_message_is_out_of_reach(name: str) -> None:
    assert name.lower().encode() in PROTECTED
    for forbidden in (HeaderRules(remove=(name,)), HeaderRules(set=((name, "1"),))):
        with pytest.raises(ValueError, match=name):
            compile_rules(forbidden)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nHost", "a\n", "é"])
def test_what_is_no_name_is_refused(name: str) -> None:
    for forbidden in (HeaderRules(remove=(name,)), HeaderRules(set=((name, "1"),))):
        with pytest.raises(ValueError, match="no name"):
            compile_rules(forbidden)


@pytest.mark.parametrize("value", ["a\r\nHost: y", "a\r", "a\n", "\0", "é"])
def test_a_value_cannot_end_its_line_and_is_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="X-Key") as caught:
        compile_rules(HeaderRules(set=(("X-Key", "secret" + value),)))
    assert "secret" not in str(caught.value)


_NAME = st.sampled_from(["A", "a", "Bb", "bB", "Cc", "Host", "Content-Length", "x\r\ny"])


@given(
    st.lists(_NAME, max_size=3),
    st.lists(st.tuples(_NAME, st.text(max_size=5)), max_size=3),
    st.lists(st.tuples(_NAME, st.binary(max_size=5)), max_size=6),
)
def test_rules_that_are_taken_change_what_they_name_and_nothing_else(
    remove: list[str], fields: list[tuple[str, str]], there: list[tuple[str, bytes]]
) -> None:
    try:
        compiled = compile_rules(HeaderRules(remove=tuple(remove), set=tuple(fields)))
    except ValueError:
        return
    lines = [b"%b: %b\r\n" % (name.encode(), value) for name, value in there]
    found = lines if compiled is None else compiled.apply(lines)
    named = {name.lower() for name in (*remove, *(name for name, _ in fields))}
    others = [
        line for line, (name, _) in zip(lines, there, strict=True) if name.lower() not in named
    ]

    assert found == others + [f"{name}: {value}\r\n".encode() for name, value in fields]
