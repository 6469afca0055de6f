"""Restored slots that help, and those that do not."""

from arriero.protocol.records import RequestRecord
from arriero.supervisor.slots.worth import MAX_MISSES, Worth


def reply(cached: int, of: int = 1000, *, t: float = 10.0) -> RequestRecord:
    return RequestRecord(
        request_id="r",
        t=t,
        path="/v1/chat/completions",
        asked="m",
        model="m",
        api="openai",
        stream=False,
        status=200,
        outcome="ok",
        duration_ms=500.0,
        input_tokens=of,
        cached_tokens=cached,
    )


def visits(worth: Worth, *cached: int) -> list[bool | None]:
    found = []
    for tokens in cached:
        worth.restored("m", "args", 10.0)
        found.append(worth.judge(reply(tokens)))
    return found


def test_off_after_three_in_a_row() -> None:
    worth = Worth()

    assert visits(worth, 0, 99, 900, 0, 0) == [False, False, True, False, False]
    assert worth.why_off("m", "args") == ""
    assert visits(worth, 0) == [False]
    assert "saved no time" in worth.why_off("m", "args")


def test_other_arguments_are_another_trial() -> None:
    worth = Worth()
    visits(worth, *[0] * MAX_MISSES)

    assert worth.why_off("m", "args")
    assert worth.why_off("m", "others") == ""


def test_only_the_next_reply_tells() -> None:
    worth = Worth()

    assert worth.judge(reply(0)) is None
    worth.restored("m", "args", 10.0)
    assert worth.judge(reply(0, t=9.0)) is None  # of the process before
    assert worth.judge(reply(0, of=0)) is None  # it had no prompt
    assert worth.judge(reply(100)) is True
    assert worth.judge(reply(0)) is None


def test_slow_restores_are_given_up() -> None:
    worth = Worth()

    told = [worth.took_too_long("m", "args") for _ in range(MAX_MISSES)]

    assert told == [False] * (MAX_MISSES - 1) + [True]


def test_models_that_are_gone_are_forgotten() -> None:
    worth = Worth()
    worth.give_up("m", "args", "why")
    worth.forget(frozenset())

    assert worth.why_off("m", "args") == ""
