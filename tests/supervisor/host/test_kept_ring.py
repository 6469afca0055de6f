"""Memory that outlives its process: nothing by halves, and no lie is believed."""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.host.kept_ring import KeptRing

SIZE = 256


@pytest.fixture
def ring() -> Generator[KeptRing]:
    made = KeptRing("test", SIZE)
    yield made
    made.close()


def reopened(ring: KeptRing, size: int = SIZE) -> KeptRing:
    return KeptRing("test", size, os.dup(ring.fd))


@given(st.lists(st.binary(max_size=300)))
def test_the_last_messages_are_there(messages: list[bytes]) -> None:
    ring = KeptRing("test", SIZE)
    for message in messages:
        ring.append(message)
    again = reopened(ring)
    fitting = [message for message in messages if len(message) <= SIZE - 4]

    found = again.messages()

    assert found == ring.messages() == fitting[len(fitting) - len(found) :]
    room = SIZE - sum(4 + (len(message) + 3) // 4 * 4 for message in found)
    assert len(found) == len(fitting) or room < 4 + len(fitting[-len(found) - 1]) + 3
    again.append(b"more")
    assert again.messages()[-1] == b"more"
    again.close()
    ring.close()


@pytest.mark.parametrize("at", [0, 8, 64, 68])
def test_what_makes_no_sense_is_forgotten(ring: KeptRing, at: int) -> None:
    ring.append(b"one")
    ring.append(b"another")
    os.pwrite(ring.fd, b"\xff\xfe\xfd\xff", at)

    again = reopened(ring)

    assert again.messages() in ([], [b"one", b"another"], [b"\xff\xfe\xfd", b"another"])
    again.append(b"new")
    assert again.messages()[-1] == b"new"
    again.close()


def test_a_file_of_another_kind_is_not_used(ring: KeptRing) -> None:
    ring.append(b"one")
    unsealed = os.memfd_create("unsealed")
    os.ftruncate(unsealed, os.fstat(ring.fd).st_size)
    pipe, other = os.pipe()
    os.close(other)
    for fd in (unsealed, pipe):
        found = KeptRing("test", SIZE, fd)
        assert found.messages() == []
        found.close()
    longer = reopened(ring, 2 * SIZE)
    assert longer.messages() == []
    longer.close()


def numbered(number: int) -> bytes:
    return b"%d" % number + b"x" * (number % 20)


def test_who_is_killed_leaves_whole_messages(ring: KeptRing) -> None:
    seen, told = os.pipe()
    child = os.fork()
    if child == 0:
        for number in range(10**9):
            ring.append(numbered(number))
            if number == 1000:
                os.write(told, b"x")
    assert os.read(seen, 1) == b"x"  # it is in the middle of it
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    os.close(seen)
    os.close(told)
    again = reopened(ring)
    found = again.messages()

    first = int(found[0].rstrip(b"x"))
    assert found == [numbered(first + n) for n in range(len(found))]
    assert len(found) > 5
    again.close()
