import os
import stat
from pathlib import Path

import pytest
import trio
import zmq

from arriero.protocol.errors import TransportError
from arriero.protocol.transport import QueueLimits, Source, bound, connected, cut, open_context


async def test_a_burst_arrives_whole_and_in_order(tmp_path: Path) -> None:
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, tmp_path / "s") as router,
        connected(context, zmq.DEALER, tmp_path / "s", identity=b"me") as dealer,
    ):
        for number in range(2000):
            assert dealer.send([str(number).encode()])
        with trio.fail_after(20):
            received = [await router.receive() for _ in range(2000)]

    assert received == [[b"me", str(number).encode()] for number in range(2000)]


async def test_a_send_does_not_take_the_wakeup_of_a_waiting_receiver(tmp_path: Path) -> None:
    rounds = 300
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, tmp_path / "s") as router,
        connected(context, zmq.DEALER, tmp_path / "s", identity=b"me") as dealer,
    ):
        got: list[bytes] = []

        async def echo() -> None:
            while True:
                router.send(await router.receive())

        async def listen() -> None:
            while len(got) < rounds:
                got.append((await dealer.receive())[0])

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(echo)
                async with trio.open_nursery() as inner:
                    inner.start_soon(listen)
                    for number in range(rounds):
                        dealer.send([str(number).encode()])
                        if number % 7 == 0:
                            await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

    assert got == [str(number).encode() for number in range(rounds)]


async def test_a_cancelled_receive_loses_nothing(tmp_path: Path) -> None:
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, tmp_path / "s") as router,
        connected(context, zmq.DEALER, tmp_path / "s", identity=b"me") as dealer,
    ):
        with trio.move_on_after(0.05) as scope:
            await router.receive()
        assert scope.cancelled_caught
        dealer.send([b"x"])
        with trio.fail_after(20):
            assert await router.receive() == [b"me", b"x"]


async def test_who_comes_back_is_heard_although_nobody_has_missed_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, path, QueueLimits(handover=True)) as router,
        connected(context, zmq.DEALER, path, identity=b"me") as before,
        trio.fail_after(20),
    ):
        before.send([b"first"])
        assert await router.receive() == [b"me", b"first"]
        with connected(context, zmq.DEALER, path, identity=b"me") as after:
            after.send([b"second"])
            assert await router.receive() == [b"me", b"second"]
            router.send([b"me", b"answer"])
            assert await after.receive() == [b"answer"]


async def test_a_socket_is_private_and_gone_after_use(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_context() as context, bound(context, zmq.ROUTER, path):
        found = path.lstat()
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_uid == os.geteuid()
    assert not path.exists()


async def test_a_path_that_cannot_be_bound_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "s"
    with (
        open_context() as context,
        pytest.raises(TransportError, match=r"^cannot bind .*missing"),
        bound(context, zmq.ROUTER, path),
    ):
        pass


async def test_sending_to_nobody_is_said_and_does_not_wait(tmp_path: Path) -> None:
    with open_context() as context, connected(context, zmq.DEALER, tmp_path / "s") as dealer:
        outcomes = {dealer.send([b"x"]) for _ in range(10_001)}
    assert outcomes == {True, False}


async def test_nobody_takes_a_name_that_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, path) as router,
        connected(context, zmq.DEALER, path, identity=b"me") as first,
        trio.fail_after(20),
    ):
        first.send([b"first"])
        assert await router.receive() == [b"me", b"first"]
        with (
            connected(context, zmq.DEALER, path, identity=b"me") as thief,
            connected(context, zmq.DEALER, path, identity=b"other") as other,
        ):
            thief.send([b"stolen"])
            for number in range(20):  # by then it has been let in or not
                other.send([b"%d" % number])
                assert await router.receive() == [b"other", b"%d" % number]
                await trio.sleep(0.01)
            router.send([b"me", b"secret"])
            assert await first.receive() == [b"secret"]


async def test_a_connection_that_is_cut_is_known_by_its_messages(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        open_context() as context,
        bound(context, zmq.XPUB, path) as publisher,
        connected(context, zmq.XSUB, path) as greedy,
        connected(context, zmq.SUB, path, topics=[b"x"]) as modest,
        trio.fail_after(20),
    ):
        greedy.send([b"\1greedy"])
        sources: dict[bytes, Source] = {}
        while len(sources) < 2:
            await publisher.wait()
            while (said := publisher.receive_frame_now()) is not None:
                source, topic = said
                assert source is not None
                sources[topic[1:]] = source
        assert sources[b"greedy"] != sources[b"x"]

        cut(Source(sources[b"x"].fd, sources[b"x"].inode + 1))  # one that had this descriptor
        cut(sources[b"greedy"])

        said = None
        while said is None:
            await publisher.wait()
            said = publisher.receive_frame_now()
        assert said == (None, b"\0greedy")
        publisher.send([b"x"])
        assert await modest.receive() == [b"x"]


async def test_a_door_that_is_closed_keeps_those_who_are_in(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        open_context() as context,
        bound(context, zmq.ROUTER, path) as router,
        connected(context, zmq.DEALER, path, identity=b"in") as inside,
        trio.fail_after(20),
    ):
        inside.send([b"1"])
        assert await router.receive() == [b"in", b"1"]
        assert router.door is not None
        router.door.close()
        assert not path.exists()
        with connected(context, zmq.DEALER, path, identity=b"late") as late:
            late.send([b"let me in"])
            inside.send([b"2"])
            assert await router.receive() == [b"in", b"2"]

            router.door.open()
            assert await router.receive() == [b"late", b"let me in"]
        router.door.close()

    assert not path.with_name(".s.closed").exists()
