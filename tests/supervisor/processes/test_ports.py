import socket

import pytest
import trio

from arriero.supervisor.errors import PortError
from arriero.supervisor.processes import ports
from arriero.supervisor.processes.ports import is_listening, pick_port, wait_port_closed
from tests.supervisor.processes.helpers import PATIENCE_S


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port from which some are free, at the time of asking."""
    monkeypatch.setattr(ports, "_cursors", {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        return min(int(server.getsockname()[1]), 65000)


def test_ports_rotate_through_the_range(first: int) -> None:
    given = [pick_port(first, (), last=first + 99) for _ in range(150)]

    free = given[: len(set(given))]
    assert 40 < len(free) <= 100
    assert free == sorted(free)
    assert given[len(free) : len(free) + 10] == free[:10]  # from the start again


def test_promised_and_busy_ports_are_skipped(first: int) -> None:
    promised = pick_port(first, ())
    ports._cursors.clear()
    with socket.socket() as server:
        server.bind(("127.0.0.1", pick_port(first, {promised})))
        server.listen()
        ports._cursors.clear()

        assert pick_port(first, {promised}) not in {promised, server.getsockname()[1]}


def test_bound_port_is_skipped(first: int) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", pick_port(first, ())))
        ports._cursors.clear()

        assert pick_port(first, ()) != bound.getsockname()[1]


def test_listener_elsewhere_makes_a_port_busy(first: int) -> None:
    """The server may listen on all addresses."""
    port = pick_port(first, ())
    ports._cursors.clear()
    with socket.create_server(("127.0.0.2", port)):
        assert pick_port(first, ()) != port


def test_free_preferred_port_is_kept(first: int) -> None:
    wanted = pick_port(first + 20, ())
    assert [pick_port(first, (), preferred=wanted) for _ in range(3)] == [wanted] * 3

    with socket.create_server(("127.0.0.1", wanted)):
        assert pick_port(first, (), preferred=wanted) != wanted
    assert pick_port(first, {wanted}, preferred=wanted) != wanted  # promised to somebody
    assert pick_port(first, (), preferred=wanted) == wanted


def test_reserved_port_is_last_resort(first: int) -> None:
    reserved = set(range(first, 65536)) - {pick_port(first, ())}
    (only,) = set(range(first, 65536)) - reserved

    assert [pick_port(first, (), reserved=reserved) for _ in range(2)] == [only, only]
    assert pick_port(first, {only}, reserved=reserved) in reserved


def test_exhausted_range_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_cursors", {})

    with pytest.raises(PortError, match=r"^cannot find a free port from 65534 .* choose a lower"):
        pick_port(65534, {65534, 65535})
    with pytest.raises(PortError):
        pick_port(70_000, ())


@pytest.mark.parametrize(
    ("bound", "asked", "listening"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.2", "0.0.0.0", True),
        ("127.0.0.1", "localhost", True),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
        ("::1", "[::1]", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
    ],
)
def test_address_blocks_itself_and_any(bound: str, asked: str, listening: bool) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    try:
        server = socket.create_server((bound, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert is_listening(server.getsockname()[1], asked) is listening


def test_a_connection_is_not_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client_port = client.getsockname()[1]

            assert is_listening(port)
            assert not is_listening(client_port)


async def test_closing_port_ends_the_wait() -> None:
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = server.getsockname()[1]
                nursery.start_soon(wait_port_closed, port)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert len(nursery.child_tasks) == 1

    assert not is_listening(port)
