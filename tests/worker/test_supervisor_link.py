"""The records of many requests, on their way to the supervisor."""

import socket as sockets
from collections.abc import Iterator

import pytest
import trio
import trio.testing
import zmq

from arriero.protocol.codec import read_from_worker
from arriero.protocol.lease import Claim, Claimed, Finished, Grant, Noted, Release, Want, Welcome
from arriero.protocol.transport import FrameSocket
from arriero.protocol.values import Snapshot
from arriero.protocol.worker_config import WorkerConfig
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
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link._flush_soon)
            while sum(len(message.records) for message in got) < 3000:
                await trio.sleep(0.01)
                got += finished(supervisor)
            nursery.cancel_scope.cancel()

    assert max(len(message.records) for message in got) == 256
    ids = [record.request_id for message in got for record in message.records]
    assert ids == [f"r{number}" for number in range(3000)]


async def test_the_last_records_are_made_as_soon_as_zmq_takes_what_is_before_them() -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as ours, context.socket(zmq.PAIR) as it:
        it.bind("inproc://lease")
        socket = FrameSocket(ours)
        relay = RelayContext(monitor=ConnectionMonitor())
        link = SupervisorLink(1, b"token", 1, socket, socket, relay, Limits())
        for number in range(20):  # there is no other end yet
            link.say(Release(model="m", lease=number))
        link.ended(open_account(request_id="r", path=b"/", api=CHAT, now=0.0, t=0.0), 1.0)
        ours.connect("inproc://lease")

        link.flush()

        assert [record.request_id for one in finished(it) for record in one.records] == ["r"]


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


def welcome(epoch: str) -> Welcome:
    config = WorkerConfig(generation=1, models=(), supervisor_grace_s=60)
    snapshot = Snapshot(epoch=epoch, seq=0, t=0.0, models=(), queue=())
    return Welcome(config=config, snapshot=snapshot)


async def test_another_supervisor_is_told_what_may_not_be_noted(
    pair: tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"],
) -> None:
    ours, supervisor = pair
    socket = FrameSocket(ours)
    context = RelayContext(monitor=ConnectionMonitor())
    link = SupervisorLink(1, b"token", 1, socket, socket, context, Limits())
    link._handle(welcome("one"))
    for name in ("r1", "r2"):
        link.ended(open_account(request_id=name, path=b"/", api=CHAT, now=0.0, t=0.0), 1.0)
        link.flush()
    assert [message.number for message in finished(supervisor)] == [1, 2]
    link._handle(Noted(number=1))

    link._is_away()
    link._handle(welcome("another"))

    [again] = finished(supervisor)
    assert (again.number, again.again) == (2, True)
    assert [record.request_id for record in again.records] == ["r2"]
    link._handle(Noted(number=2))
    with trio.fail_after(20):
        await link.all_noted()


async def test_the_last_words_of_one_that_has_gone_are_void(
    pair: tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"],
) -> None:
    """Whoever comes next is told what is held: nothing may be added to that behind its back."""
    ours, supervisor = pair
    socket = FrameSocket(ours)
    context = RelayContext(monitor=ConnectionMonitor())
    link = SupervisorLink(1, b"token", 1, socket, socket, context, Limits())
    link._handle(welcome("one"))
    waiter, want = context.leases.want("m", lambda: None, lambda model: model == "m")
    link.say(want)
    grant = Grant(request=waiter.request, model="m", lease=5, endpoint="http://m", waited_s=0)

    link._is_away()
    link._handle(grant)
    assert (waiter.outcome, context.leases.holdings()) == (None, ())

    link._handle(welcome("another"))  # it is asked again
    link._handle(grant)
    [held] = context.leases.holdings()
    assert held.places == (waiter.request,)
    context.leases.leave_place(waiter.request)
    assert context.leases.holdings()[0].places == ()
    said = [read_from_worker(m[-1]) for m in iter(lambda: received(supervisor), None)]
    assert said.count(want) == 2


def received(supervisor: "zmq.Socket[bytes]") -> list[bytes] | None:
    return supervisor.recv_multipart() if supervisor.poll(0) else None


async def test_an_open_question_is_asked_again(
    pair: tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"],
) -> None:
    ours, supervisor = pair
    socket = FrameSocket(ours)
    context = RelayContext(monitor=ConnectionMonitor())
    link = SupervisorLink(1, b"token", 1, socket, socket, context, Limits())
    link._handle(welcome("one"))
    answers: list[Claimed] = []

    async def ask() -> None:
        def make(ask: int) -> Claim:
            return Claim(ask=ask, caller="", key="k", request_id="r")

        answers.append(await context.queries.ask(make, Claimed))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        link._is_away()
        link._handle(Claimed(ask=1, taken_by="somebody"))  # whoever said so has gone
        link._handle(welcome("another"))
        link._handle(Claimed(ask=1))
    assert answers == [Claimed(ask=1)]
    said = [read_from_worker(m[-1]) for m in iter(lambda: received(supervisor), None)]
    assert len([message for message in said if isinstance(message, Claim)]) == 2
