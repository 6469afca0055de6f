"""The control socket over TCP: who has a key is answered, and nobody else disturbs anybody."""

import resource
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import zmq
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.control.messages import AnyRequest
from arriero.protocol.control.running import PingReply, PingRequest
from arriero.protocol.events import LogLine
from arriero.protocol.remote.curve import new_keys, show_keys, to_hex
from arriero.protocol.transport import (
    DEFAULT_BOUNDS,
    FrameSocket,
    connected,
    new_socket,
    open_context,
)
from arriero.supervisor.cli.connection import open_link
from arriero.supervisor.cli.find_sockets import CONTROL_SOCKET, EVENTS_SOCKET, SupervisorUnreachable
from arriero.supervisor.cli.place import RemotePlace
from arriero.supervisor.control import remote, remote_door
from arriero.supervisor.control.curve_handshake import CurveHandshake, NotCurve
from arriero.supervisor.control.event_publisher import Publisher, open_publisher
from arriero.supervisor.control.remote import open_remote_control
from arriero.supervisor.control.remote_door import MAX_STRANGERS, RemoteDoor, Visitor, to_go
from arriero.supervisor.control.server import ControlServer, open_control_server
from arriero.supervisor.text.addresses import Address
from tests.examples import examples

# Everything on a busy machine; a test that needs as long as this has failed.
LIMIT_S = 60
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
SERVER, FRIEND, STRANGER = new_keys(), new_keys(), new_keys()


def answer(request: AnyRequest) -> PingReply:
    return PingReply(version="1", epoch="e", pid=7, uptime_s=1.0)


def line(text: str) -> LogLine:
    return LogLine(model="m", swap=1, line=text, stream="stdout")


class Rig(NamedTuple):
    """Both sockets, here and over TCP."""

    folder: Path
    place: RemotePlace
    control: ControlServer
    publisher: Publisher
    allowed: list[str]
    doors: list[RemoteDoor]

    def ask(self, place: RemotePlace | None = None, connect_s: float = LIMIT_S) -> object:
        """Ask from another machine, as a command does."""
        with open_link(place or self.place, connect_s=connect_s) as link:
            return link.ask(PingRequest(), PingReply, within_s=LIMIT_S)

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(self.place.host, self.place.port)

    @property
    def visitors(self) -> int:
        return sum(door.count for door in self.doors)


@asynccontextmanager
async def open_rig(folder: Path) -> AsyncGenerator[Rig, None]:
    allowed = [to_hex(FRIEND.public)]
    doors: list[RemoteDoor] = []

    def door(*args: object) -> RemoteDoor:
        doors.append(RemoteDoor(*args))  # type: ignore[arg-type]
        return doors[-1]

    with open_context() as context, trio.fail_after(LIMIT_S), pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "RemoteDoor", door)
        async with (
            open_publisher(context, folder / EVENTS_SOCKET) as publisher,
            open_control_server(context, folder / CONTROL_SOCKET, answer) as control,
            open_remote_control(
                context,
                Address("127.0.0.1", 0),
                SERVER,
                folder=folder,
                control=control.socket,
                events=publisher.socket,
                allowed=lambda: tuple(allowed),
            ) as address,
        ):
            assert address.startswith(f"tcp://{to_hex(SERVER.public)}@127.0.0.1:")
            place = RemotePlace("127.0.0.1", int(address.rpartition(":")[2]), SERVER.public, FRIEND)
            yield Rig(folder, place, control, publisher, allowed, doors)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig, None]:
    async with open_rig(tmp_path) as found:
        yield found


in_thread = trio.to_thread.run_sync


async def test_who_has_a_key_is_answered_and_hears_events(rig: Rig) -> None:
    def listen() -> object:
        with open_link(rig.place) as link, link.subscribe([b"log/"]) as subscription:
            while not (events := subscription.take()):
                trio.from_thread.run_sync(rig.publisher.publish, line("x"))
                subscription.wait(0.05)
            return events[0]

    assert await in_thread(rig.ask) == answer(PingRequest())
    heard = await in_thread(listen)
    assert isinstance(heard, LogLine)
    assert heard.line == "x"


async def test_others_are_told_what_is_wrong(rig: Rig) -> None:
    with pytest.raises(SupervisorUnreachable, match="does not have our public key"):
        await in_thread(rig.ask, rig.place._replace(keys=STRANGER))
    with pytest.raises(SupervisorUnreachable, match="the key in --control its own"):
        await in_thread(rig.ask, rig.place._replace(server=STRANGER.public), 0.5)
    assert rig.control.answered == 0


async def test_key_that_is_taken_out_is_cut_off(rig: Rig) -> None:
    with open_context() as context:
        socket = new_socket(context, zmq.DEALER, DEFAULT_BOUNDS)
        show_keys(socket, FRIEND, SERVER.public)
        socket.connect(f"tcp://127.0.0.1:{rig.place.port}")
        friend = FrameSocket(socket)
        friend.send([b"", b'{"v": 1, "cmd": "ping"}'])
        await friend.receive()
        assert rig.visitors == 1

        rig.allowed[:] = [to_hex(STRANGER.public)]
        while rig.visitors:  # noqa: ASYNC110  it is cut, and not let in again
            await trio.sleep(0.01)
    assert await in_thread(rig.ask, rig.place._replace(keys=STRANGER)) == answer(PingRequest())


# --- attacks --------------------------------------------------------------------------------------


async def says(rig: Rig, data: bytes) -> bytes:
    """Say `data`, and return all that is said until the other side hangs up."""
    async with await rig.connect() as stream:
        heard = b""
        with suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            while piece := await stream.receive_some():
                heard += piece
        return heard


async def captured(rig: Rig) -> tuple[bytes, bytes]:
    """Return what a friend says for one question, and what is said to him."""
    overheard, told = bytearray(), bytearray()

    async def overhear(ours: trio.SocketStream) -> None:
        async with ours, await rig.connect() as theirs, trio.open_nursery() as both:

            async def back() -> None:
                while data := await theirs.receive_some():
                    told.extend(data)
                    await ours.send_all(data)

            both.start_soon(back)
            while data := await ours.receive_some():
                overheard.extend(data)
                await theirs.send_all(data)
            both.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, overhear, listeners)
        port = listeners[0].socket.getsockname()[1]
        assert await in_thread(rig.ask, rig.place._replace(port=port)) == answer(PingRequest())
        nursery.cancel_scope.cancel()
    return bytes(overheard), bytes(told)


async def replay(rig: Rig) -> None:
    told, _ = await captured(rig)
    assert len(told) > 500
    assert b"READY" not in await says(rig, told)
    for end in (10, 11, 64, 266, 300):  # greeting, HELLO, and half of what follows
        assert b"READY" not in await says(rig, told[:end] + bytes(600))


async def no_key(rig: Rig) -> None:
    """A socket of zmq that shows none, and other programs."""
    with open_context() as context:
        socket = new_socket(context, zmq.DEALER, DEFAULT_BOUNDS)
        socket.connect(f"tcp://127.0.0.1:{rig.place.port}")
        stranger = FrameSocket(socket)
        stranger.send([b"", b'{"v": 1, "cmd": "ping"}'])
        with trio.move_on_after(0.3):  # nothing will come: that is what is to be seen
            raise AssertionError(await stranger.receive())
    assert await says(rig, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert b"READY" not in await says(rig, b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48))


async def big_frames(rig: Rig) -> None:
    for what in (b"\x06" + b"\xff" * 8, b"\x04\xc8\x05HELLO", b"\x02" + (2**40).to_bytes(8, "big")):
        assert b"READY" not in await says(rig, GREETING + what + bytes(2**20))


async def slow_frames(rig: Rig) -> None:
    """Half of a handshake, and no more; byte by byte as well."""

    async def drip() -> None:
        with suppress(trio.BrokenResourceError):
            async with await rig.connect() as stream:
                for byte in GREETING * 100:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.01)
            raise AssertionError("nobody has hung up")

    async with trio.open_nursery() as nursery:
        for begin in (b"", b"\xff", GREETING[:11], GREETING, GREETING + b"\x04\xc8\x05HE"):
            nursery.start_soon(says, rig, begin)
        nursery.start_soon(drip)


async def many_connections(rig: Rig) -> None:
    """They come as fast as the system lets them, say a bit, and stay."""
    held: list[socket.socket] = []
    for number in range(examples(400, 10_000)):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex((rig.place.host, rig.place.port))
        held.append(one)
        if len(held) > 150:
            first = held.pop(0)
            with suppress(OSError):
                first.send(GREETING[: number % 64])
            first.close()
        if number % 20 == 0:
            await trio.lowlevel.checkpoint()
        assert rig.visitors <= MAX_STRANGERS + 5
    for one in held:
        one.close()


async def requests_of_a_friend(rig: Rig) -> None:
    """One who has a key is no friend when he sends what nobody reads."""
    with open_context() as context:
        socket = new_socket(context, zmq.DEALER, DEFAULT_BOUNDS)
        show_keys(socket, FRIEND, SERVER.public)
        socket.connect(f"tcp://127.0.0.1:{rig.place.port}")
        friend = FrameSocket(socket)
        friend.send([b"", b"x" * (100 * 1024)])
        assert b"too long" in (await friend.receive())[-1]
        friend.send([b"", bytes(2**22)])
        friend.send([b"", b"{"])
        while rig.visitors == 0:  # noqa: ASYNC110  it may have been cut, and comes again
            await trio.sleep(0.01)


ATTACKS = [replay, no_key, big_frames, slow_frames, many_connections, requests_of_a_friend]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_attack_disturbs_nobody(
    tmp_path: Path, attack: Callable[[Rig], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket of this machine answers, events go out, and memory stays."""
    monkeypatch.setattr(remote_door, "HANDSHAKE_S", 0.3)
    async with open_rig(tmp_path) as rig:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rounds = 0
        with open_context() as context:
            async with trio.open_nursery() as nursery:

                async def go_on() -> None:
                    nonlocal rounds
                    with (
                        connected(context, zmq.DEALER, tmp_path / CONTROL_SOCKET) as asks,
                        connected(
                            context, zmq.SUB, tmp_path / EVENTS_SOCKET, topics=[b"log/"]
                        ) as hears,
                    ):
                        while True:
                            asks.send([b"", b'{"v": 1, "cmd": "ping"}'])
                            assert b'"pid":7' in (await asks.receive())[-1]
                            rig.publisher.publish(line(str(rounds)))
                            if rounds:  # the first may come before it is heard
                                await hears.receive()
                            else:
                                while True:
                                    with trio.move_on_after(0.05):
                                        await hears.receive()
                                        break
                                    rig.publisher.publish(line("0"))
                            rounds += 1
                            await trio.sleep(0.002)

                nursery.start_soon(go_on)
                await attack(rig)
                done = rounds
                while rounds < done + 3:  # noqa: ASYNC110  they go on
                    await trio.sleep(0.002)
                nursery.cancel_scope.cancel()
        assert await in_thread(rig.ask) == answer(PingRequest())
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 * 1024


# --- what decides ---------------------------------------------------------------------------------


def test_one_address_cannot_take_the_places_of_others() -> None:
    def visitors(hosts: str, known: str) -> list[Visitor]:
        found = []
        for host in hosts:
            one = Visitor(host)
            one.is_known = host in known
            found.append(one)
        return found

    strangers = visitors("abaab", "")
    assert to_go(strangers, known=False, most=5) is None
    assert to_go(strangers, known=False, most=4) is strangers[0]
    assert to_go(strangers, known=True, most=4) is None
    friends = visitors("abaacb", "ab")
    assert to_go(friends, known=True, most=4) is friends[3]
    assert to_go(friends, known=False, most=0) is friends[4]


async def test_handshake_is_followed_whatever_its_pieces(rig: Rig) -> None:
    client, server = await captured(rig)
    for size in (1, 7, 64, 10_000):
        handshake = CurveHandshake()
        handshake.from_client(client[:500])
        for at in range(0, len(server), size):
            is_whole = b"\x05READY" in server[:at]
            assert handshake.is_done == is_whole or size == 1
            handshake.from_server(server[at : at + size])
        assert handshake.is_done
        handshake.from_client(client)  # what comes then is for others


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=20), st.integers(0, 64))
def test_no_bytes_break_it_and_it_keeps_few(pieces: list[tuple[bool, bytes]], honest: int) -> None:
    handshake = CurveHandshake()
    with suppress(NotCurve):
        handshake.from_client(GREETING[:honest])
        for is_client, data in pieces:
            (handshake.from_client if is_client else handshake.from_server)(data)
    assert not handshake.is_done or any(b"\x05READY" in data for _, data in pieces)
