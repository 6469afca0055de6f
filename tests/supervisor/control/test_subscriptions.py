"""Who subscribes to too much is cut off, and others do not notice."""

import pytest

from arriero.supervisor.control.subscriptions import (
    MAX_BYTES,
    MAX_TOPIC_BYTES,
    MAX_TOPICS,
    Subscriptions,
)


def topics(count: int, length: int = 20) -> list[bytes]:
    return [b"\1" + str(number).encode().rjust(length, b".") for number in range(count)]


def test_a_topic_is_wanted_by_its_beginning() -> None:
    wanted = Subscriptions()
    assert not wanted.wants(b"log/a\n")

    for frame in (b"\1log/", b"\1state/b\n", b"\1log/"):
        assert wanted.note(frame, 1) is None

    assert wanted.wants(b"log/a\n")
    assert wanted.wants(b"state/b\n")
    assert not wanted.wants(b"state/bb\n")
    assert wanted.note(b"\0log/", None) is None
    assert not wanted.wants(b"log/a\n")
    wanted.note(b"\1", 1)
    assert wanted.wants(b"whatever")


@pytest.mark.parametrize("frame", [b"", b"\2x", b"\0never wanted", b"hello"])
def test_what_makes_no_sense_changes_nothing(frame: bytes) -> None:
    wanted = Subscriptions()

    assert wanted.note(frame, 1) is None
    assert wanted == Subscriptions()


def test_one_too_many_is_the_end_of_its_subscriber_only() -> None:
    wanted = Subscriptions()
    assert {wanted.note(frame, "greedy") for frame in topics(MAX_TOPICS)} == {None}
    assert wanted.note(b"\1log/", "other") is None

    assert wanted.note(b"\1one more", "greedy") == "greedy"
    for frame in (*topics(MAX_TOPICS), b"\1one more"):  # zmq tells when a subscriber is gone
        wanted.note(b"\0" + frame[1:], None)

    assert wanted.wants(b"log/")
    other = Subscriptions()
    other.note(b"\1log/", "other")
    assert wanted == other


def test_taking_back_and_asking_again_may_go_on_for_ever() -> None:
    wanted = Subscriptions()
    for frame in topics(3 * MAX_TOPICS):
        assert wanted.note(frame, 1) is None
        assert wanted.note(b"\0" + frame[1:], 1) is None
    assert wanted == Subscriptions()


def test_a_topic_that_is_too_long_is_the_end() -> None:
    wanted = Subscriptions()

    assert wanted.note(b"\1" + b"x" * MAX_TOPIC_BYTES, 1) is None
    assert wanted.note(b"\1" + b"x" * (MAX_TOPIC_BYTES + 1), 1) == 1


def test_all_together_are_bounded_and_the_greediest_goes() -> None:
    wanted = Subscriptions()
    cut: list[object] = []
    wanted.note(b"\1log/", "modest")
    for source in range(10):
        frames = topics(MAX_TOPICS - source, MAX_TOPIC_BYTES - 10)
        cut += [wanted.note(frame[:5] + b"%d" % source + frame[5:], source) for frame in frames]

    assert MAX_BYTES // MAX_TOPIC_BYTES // MAX_TOPICS == 2
    assert {who for who in cut if who is not None} <= {0, 1, 2}
    assert cut[-1] is not None
