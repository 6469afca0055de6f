"""The records of many requests, on their way to the supervisor."""

import socket as sockets
from collections.abc import Iterator

import pytest
import trio
import zmq

from arriero.protocol.codec import read_from_worker
from arriero.protocol.lease import Finished, Release, Want
from arriero.protocol.transport import FrameSocket
from arriero.worker.accounting.account import open_account
from arriero.worker.apis.routes import CHAT
from arriero.worker.connections.connection import ConnectionMonitor
from arriero.worker.connections.stream import SocketStream
from arriero.worker.limits import Limits
from arriero.worker.relay.context import RelayContext
from arriero.worker.supervisor_link import SupervisorLink


@pytest.fixture
def pair() -> Iterator[tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]]:
    with zmq.Context() as context, context.socket(zmq.PAIR) as ours, context.socket(zmq.PAIR) as it:
        it.bind("inproc://lease")
        ours.connect("inproc://lease")
        yield ours, it


def finished(supervisor: "zmq.Socket[bytes]") -> list[Finished]:
    found = []
    while supervisor.poll(0):
        message = read_from_worker(supervisor.recv_multipart()[-1])
        if isinstance(message, Finished):
            found.append(message)
    return found


async def test_thousands_of_records_are_many_messages(
    pair: tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"],
) -> None:
    """The supervisor ends a connection whose message is too long."""
    ours, supervisor = pair
    socket = FrameSocket(ours)
    context = RelayContext(monitor=ConnectionMonitor())
    link = SupervisorLink(1, b"token", 1, socket, socket, context, Limits())
    for number in range(3000):
        account = open_account(request_id=f"r{number}", path=b"/", api=CHAT, now=0.0, t=0.0)
        link.ended(account, 1.0)
    got: list[Finished] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link._flush_soon)
            while sum(len(message.records) for message in got) < 3000:
                await trio.sleep(0.01)
                got += finished(supervisor)
            nursery.cancel_scope.cancel()

    assert max(len(message.records) for message in got) == 256
    ids = [record.request_id for message in got for record in message.records]
    assert ids == [f"r{number}" for number in range(3000)]


async def test_want_goes_ahead_of_records(
    pair: tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"],
) -> None:
    ours, supervisor = pair
    socket = FrameSocket(ours)
    context = RelayContext(monitor=ConnectionMonitor())
    link = SupervisorLink(1, b"token", 1, socket, socket, context, Limits())
    link.ended(open_account(request_id="r", path=b"/", api=CHAT, now=0.0, t=0.0), 1.0)

    link.say(Want(request=1, model="m"))
    link.say(Release(model="m", lease=1))

    said = [read_from_worker(supervisor.recv_multipart()[-1]) for _ in range(3)]
    assert [type(message) for message in said] == [Want, Finished, Release]


async def test_record_knows_the_fate_of_its_answer(
    pair: tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"],
) -> None:
    """A client leaves while its answer is kept back for the sends of others."""
    ours, supervisor = pair
    socket = FrameSocket(ours)
    monitor = ConnectionMonitor()
    link = SupervisorLink(1, b"token", 1, socket, socket, RelayContext(monitor=monitor), Limits())
    first, second = (
        open_account(request_id=f"r{n}", path=b"/", api=CHAT, now=0, t=0) for n in "12"
    )
    near, far = sockets.socketpair()
    transport = SocketStream(near)

    with monitor.sends.running():
        for account in (first, second):
            account.status = 200
        assert not monitor.sends.take(transport, b"first", first.client_left)  # it is sent at once
        assert monitor.sends.take(transport, b"second", second.client_left)
        far.close()
        link.ended(first, 1.0)
        link.ended(second, 1.0)
        link.say(Release(model="m", lease=1))
    transport.close()

    [message] = finished(supervisor)
    assert [record.outcome for record in message.records] == ["ok", "client_gone"]
