import pytest

from arriero.supervisor.models.start.start_retry import (
    EARLY_S,
    complains_of_port,
    ended_without_pipe,
    how_to_try_again,
)
from arriero.supervisor.processes.process import Exit


def ended(*tail: str, code: int = 1, asked: bool = False, port_closed: bool = True) -> Exit:
    return Exit(code=code, ran_s=1.0, asked=asked, tail=tail, port_closed=port_closed)


@pytest.mark.parametrize(
    "line",
    [
        "0.00.021 E srv  start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 7998",
        "[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already "
        "in use",
        "listen tcp 127.0.0.1:8080: bind: address already in use",
        "Error: listen EADDRINUSE: address already in use :::3000",
        'Os { code: 98, kind: AddrInUse, message: "Address already in use" }',
        "Port 8080 is in use by another program.",
    ],
)
def test_servers_say_in_many_ways_that_a_port_is_taken(line: str) -> None:
    assert complains_of_port(line)


@pytest.mark.parametrize(
    "line",
    [
        "listening on http://127.0.0.1:5800",
        "failed to load model",
        "the GPU is in use",
        "port 5800",
    ],
)
def test_other_lines_do_not_say_so(line: str) -> None:
    assert not complains_of_port(line)


@pytest.mark.parametrize(
    ("end", "reported", "ready_for_s", "expected"),
    [
        (ended(), True, 0.01, True),
        (ended(code=0), True, 0.01, True),  # of a shell that waits for all its children
        (ended(), True, EARLY_S, False),
        (ended(), True, None, False),  # it failed while it loaded
        (
            ended("0.3 I srv  operator(): EOF on stdin detected, forcing shutdown..."),
            True,
            None,
            True,
        ),
        (ended("EOF on stdin detected"), False, None, False),
        (ended(), False, 0.01, False),
        (ended(code=-11), True, 0.01, False),  # a crash
        (ended(asked=True), True, 0.01, False),
    ],
)
def test_an_end_without_our_pipe(
    end: Exit, reported: bool, ready_for_s: float | None, expected: bool
) -> None:
    found = ended_without_pipe(end, reported=reported, is_itself=True, ready_for_s=ready_for_s)
    assert found is expected


@pytest.mark.parametrize(("end", "expected"), [(ended(code=0), True), (ended(code=-6), False)])
def test_behind_a_wrapper_any_early_end_may_be_one(end: Exit, expected: bool) -> None:
    found = ended_without_pipe(end, reported=True, is_itself=False, ready_for_s=None)
    assert found is expected


@pytest.mark.parametrize(
    ("end", "displaced", "chooses_port", "without_pipe", "expected"),
    [
        (ended(), False, True, False, None),
        (ended("bind: address already in use"), False, True, False, "another port"),
        (ended("bind: address already in use"), False, False, False, None),
        (ended(port_closed=False), False, True, False, "another port"),
        (ended(port_closed=False), False, False, False, None),
        (ended(asked=True), True, True, False, "another port"),
        (ended(asked=True), True, False, False, None),
        (ended(asked=True, port_closed=False), False, True, False, None),
        (ended(), False, False, True, "no report"),
        (ended(), False, True, True, "no report"),
    ],
)
def test_what_is_tried_otherwise(
    end: Exit, displaced: bool, chooses_port: bool, without_pipe: bool, expected: str | None
) -> None:
    found = how_to_try_again(
        end, displaced=displaced, chooses_port=chooses_port, without_pipe=without_pipe
    )
    assert found == expected
