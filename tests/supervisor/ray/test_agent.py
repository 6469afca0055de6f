"""The agent as a process of its own: who holds it, and strangers who do what they like."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import pytest
import trio
import zmq

from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.remote.curve import CurveKeys, calling, new_keys
from arriero.protocol.remote.launch import (
    MAX_LAUNCH_BYTES,
    AgentOrder,
    AgentUp,
    FromAgent,
    ServerHeld,
    ServerHold,
    ServerOver,
    Wrote,
    line_of,
    packed,
    read_agent_up,
    read_from_agent,
    read_hold,
)
from arriero.protocol.transport import FrameSocket, open_context
from arriero.supervisor.models.start.start_retry import complains_of_port
from arriero.supervisor.ray.agent import TETHER, LineQueue, environment
from tests.paths import ROOT

PATIENCE_S = 30.0


class Agent:
    """A running agent, and the keys of its tether."""

    def __init__(self) -> None:
        self.keys = new_keys()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arriero.supervisor.ray.agent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line_of(AgentOrder(host="127.0.0.1", key=self.keys.public)))
        self.process.stdin.flush()
        self.up: AgentUp = read_agent_up(self.process.stdout.readline())

    @contextmanager
    def link(
        self, keys: CurveKeys | None = None, *, port: int = 0, server: str = ""
    ) -> Generator[FrameSocket]:
        """Give a connection to it, as its tether has one."""
        with (
            open_context() as context,
            calling(
                context,
                zmq.DEALER,
                "127.0.0.1",
                port or self.up.port,
                keys or self.keys,
                server or self.up.key,
                identity=TETHER,
            ) as link,
        ):
            yield link

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


@pytest.fixture
def agent() -> Generator[Agent]:
    found = Agent()
    try:
        yield found
    finally:
        found.close()


async def heard(link: FrameSocket, kind: type[FromAgent], hold: ServerHold) -> FromAgent:
    """Hold it until it says something of this kind."""
    with trio.fail_after(PATIENCE_S):
        while True:
            link.send([packed(hold)])
            with trio.move_on_after(0.2):
                while not isinstance(said := read_from_agent((await link.receive())[-1]), kind):
                    pass
                return said


async def test_strangers_disturb_nobody(agent: Agent) -> None:
    run = ServerHold(command=("sh", "-c", "echo hi; exec sleep 600"))
    end = packed(ServerHold(ends=True))
    overheard = await overhear(agent, end)  # by somebody between them, who keeps the last word back
    with agent.link() as link, ExitStack() as strangers:
        said = await heard(link, Wrote, run)
        assert isinstance(said, Wrote)
        assert said.lines == (b"hi",)

        # One with another key, and one who takes another for the agent: neither gets further.
        wrong = strangers.enter_context(agent.link(new_keys()))
        misled = strangers.enter_context(agent.link(server=new_keys().public))
        for stranger in (wrong, misled):
            stranger.send([end])
        # What its tether has said once is said again.
        for _ in range(3):
            replay = strangers.enter_context(socket.create_connection(("127.0.0.1", agent.up.port)))
            replay.sendall(overheard)
        # Many who say anything, and stay.
        for number in range(200):
            one = strangers.enter_context(socket.create_connection(("127.0.0.1", agent.up.port)))
            one.sendall((b"\xff" * number, b"GET / HTTP/1.1\r\n\r\n", overheard[:64])[number % 3])

        for _ in range(5):
            assert await heard(link, ServerHeld, ServerHold()) == ServerHeld(begun=True)

        over = await heard(link, ServerOver, ServerHold(ends=True))
        assert over == ServerOver(code=-15)
        link.send([packed(ServerHold(seen=True))])
        assert await trio.to_thread.run_sync(agent.process.wait, PATIENCE_S) == 0


async def overhear(agent: Agent, frame: bytes) -> bytes:
    """Return what the tether sends when it says `frame`, which does not arrive."""
    sent = b""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listener.socket.getsockname()[1]
    with agent.link(port=port) as link:
        link.send([frame])
        async with (
            listener,
            await listener.accept() as ours,
            await trio.open_tcp_stream("127.0.0.1", agent.up.port) as theirs,
            trio.open_nursery() as nursery,
        ):

            async def answers() -> None:
                async for data in theirs:
                    await ours.send_all(data)

            nursery.start_soon(answers)
            with trio.fail_after(PATIENCE_S):
                while b"\x08INITIATE" not in sent:
                    data = await ours.receive_some()
                    sent += data
                    await theirs.send_all(data)
                # It knows that it is let in, and says the rest.
                while b"\x07MESSAGE" not in sent:
                    sent += await ours.receive_some()
            nursery.cancel_scope.cancel()
    assert b"\x07MESSAGE" in sent
    return sent


async def test_server_is_not_started_beside_a_stranger_on_its_port(agent: Agent) -> None:
    """The stranger would be taken for it: he answers /health as well, and then gets the prompts."""
    with socket.create_server(("127.0.0.1", 0)) as stranger, agent.link() as link:
        port = stranger.getsockname()[1]
        said = await heard(link, ServerOver, ServerHold(command=("sleep", "600"), port=port))
        assert isinstance(said, ServerOver)
        assert said.code is None
        assert complains_of_port(said.why)


async def test_server_ends_with_the_agents_input(agent: Agent) -> None:
    with agent.link() as link:
        said = await heard(link, Wrote, ServerHold(command=("sh", "-c", "echo $$; sleep 600")))
        assert isinstance(said, Wrote)
        pid = int(said.lines[0])
        agent.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_place_ends_if_nobody_begins_there() -> None:
    """The bridge was killed when it had wished for it."""
    script = (
        "import sys, time; from arriero.supervisor.ray.actor import PlaceHolder; "
        "PlaceHolder(begin_s=float(sys.argv[1])); time.sleep(float(sys.argv[2])); sys.exit(7)"
    )
    ended = [
        subprocess.run([sys.executable, "-c", script, *seconds], cwd=ROOT, timeout=60).returncode
        for seconds in (("0.1", "50"), ("60", "1"))
    ]
    assert ended == [0, 7]


def test_lines_that_come_too_fast_are_counted() -> None:
    lines = LineQueue()
    for number in range(3000):
        lines.add("stdout", b"%d" % number)
    lines.add("stderr", b"last")

    first = lines.next()
    assert (first.lost, first.lines[0], first.lines[-1]) == (1001, b"1001", b"2999")
    lines.sent(first)
    assert lines.next() == Wrote(stream="stderr", lines=(b"last",))
    lines.sent(lines.next())
    assert not lines


def test_llama_server_listens_where_its_node_is_reached() -> None:
    assert environment(("llama-server",), {"A": "1"}, "10.0.0.7") == {
        "A": "1",
        "LLAMA_ARG_HOST": "10.0.0.7",
    }
    assert environment(("llama-server", "--host", "0.0.0.0"), {}, "10.0.0.7") == {}
    assert environment(("vllm", "serve"), {}, "10.0.0.7") == {}


def test_messages_of_another_version_are_refused() -> None:
    for broken in (b"", b"\xc1", b"x" * (MAX_LAUNCH_BYTES + 1), packed(ServerHold(v=2))):
        with pytest.raises(RemoteProtocolError):
            read_hold(broken)
    with pytest.raises(RemoteProtocolError, match="same arriero on all machines"):
        read_hold(packed(ServerHold(v=2)))
