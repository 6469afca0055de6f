"""Models as real processes: whether it is they who answer, and what they are."""

import re
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from arriero.protocol.lease import Grant, Refuse, Void
from arriero.protocol.records import UpstreamKind
from arriero.supervisor.models.signs import health, liveness_watch
from arriero.supervisor.models.signs.liveness_watch import PulseWatch
from arriero.supervisor.models.start.start_retry import MAX_TRIES
from tests.paths import SCRIPTED_COMMAND
from tests.supervisor.train import SERVER, Train, open_train

READY = 'cmd_child_to_router:state:{"state":"ready"}'


def opened(folder: Path, cmd: str, **more: str) -> AbstractAsyncContextManager[Train]:
    """Run a train whose model `m` is started by `cmd`; `more` are keys of the model."""
    lines = [f"    {key}: {value}\n" for key, value in ({"cmd": f"|\n      {cmd}"} | more).items()]
    return open_train(folder, f"models:\n  m:\n{''.join(lines)}")


# --- somebody else on the port --------------------------------------------------------------------


@asynccontextmanager
async def squatter(port: int, status: int = 200) -> AsyncGenerator[None, None]:
    """Answer everything on `port` with `status`, in this process."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_tcp, serve, port, host="127.0.0.1"))
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("takes_its_time", ["sleep 60", "cat", "sh -c 'sleep 60 & wait'"])
async def test_stranger_is_not_the_model(tmp_path: Path, takes_its_time: str) -> None:
    async with opened(tmp_path, takes_its_time, env="['X=${PORT}']") as train:
        train.want()
        port = await train.port()
        async with squatter(port):
            assert await train.port(but=port)


async def test_readiness_report_hides_no_stranger(tmp_path: Path) -> None:
    go = tmp_path / "go"
    says_so = f"""sh -c 'until [ -e {go} ]; do sleep 0.01; done; echo "$R"; sleep 60'"""
    env = f"""['X=${{PORT}}', 'R={READY}']"""
    async with opened(tmp_path, says_so, env=env, checkEndpoint="none") as train:
        train.want()
        port = await train.port()
        async with squatter(port):
            go.touch()
            assert await train.port(but=port)


async def test_lost_port_is_replaced_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, f"{SERVER} --listen-late --load-s 0.4") as train:
        train.want()
        first = await train.port()
        async with squatter(first):
            answer = await train.answer()

    assert isinstance(answer, Grant)
    assert answer.endpoint != f"http://127.0.0.1:{first}"


async def test_unbindable_port_is_replaced(tmp_path: Path) -> None:
    """The other program listens where nothing tells it from one that works for the model."""
    fails_once = f"""sh -c 'echo x >> {tmp_path}/tries; [ -e {tmp_path}/went ] || {{ touch \
      {tmp_path}/went; echo "bind: Address already in use"; exit 1; }}; exec {SERVER}'"""
    async with opened(tmp_path, fails_once) as train:
        train.want()
        assert isinstance(await train.answer(), Grant)

    assert (tmp_path / "tries").read_text() == "x\n" * 2


async def test_taken_ports_are_not_tried_forever(tmp_path: Path) -> None:
    never = f"sh -c 'echo x >> {tmp_path}/tries; echo ${{PORT}}: Address already in use; exit 1'"
    async with opened(tmp_path, never) as train:
        train.want()
        answer = await train.answer()

    assert isinstance(answer, Refuse)
    assert "last log line: " in answer.error.message
    assert (tmp_path / "tries").read_text() == "x\n" * MAX_TRIES


async def test_stranger_on_fixed_port_is_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    proxy = f"http://127.0.0.1:{port}"
    async with opened(tmp_path, "sleep 60", proxy=proxy) as train:
        train.want()
        await train.port()
        async with squatter(port):
            answer = await train.answer()

    assert isinstance(answer, Refuse)
    assert answer.error.message == (
        f"model m failed to load: another program took its port {port} while it was starting; "
        "stop that program, or write ${PORT} into cmd and proxy"
    )


async def test_server_outside_the_tree_may_serve(tmp_path: Path) -> None:
    async with opened(tmp_path, "sleep 60", env="['X=${PORT}']") as train:
        train.want()
        port = await train.port()
        command = [*SCRIPTED_COMMAND, "--port", str(port)]
        async with trio.open_nursery() as nursery:
            outside = await nursery.start(trio.run_process, command)
            answer = await train.answer()
            outside.kill()
            nursery.cancel_scope.cancel()

    assert isinstance(answer, Grant)


async def test_line_of_its_log_tells_readiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "pause_s", lambda _: 3600.0)
    monkeypatch.setattr(health, "_LEAST_SHARE", 0.0)
    async with opened(tmp_path, f"{SERVER} --load-s 0.2") as train:
        train.want()
        assert isinstance(await train.answer(), Grant)


async def test_without_check_the_port_is_awaited(tmp_path: Path) -> None:
    late = f"{SERVER} --listen-late --load-s 0.5 --stamp {tmp_path}/stamps"
    async with opened(tmp_path, late, checkEndpoint="none") as train:
        train.want()
        assert isinstance(await train.answer(), Grant)
        assert "listen" in (tmp_path / "stamps").read_text()


async def test_listening_elsewhere_is_not_ready(
    tmp_path: Path,
) -> None:
    elsewhere = f"""sh -c 'echo "$R"; exec {SERVER.replace("${PORT}", "0")}'"""
    async with (
        opened(
            tmp_path, elsewhere, env=f"""['X=${{PORT}}', 'R={READY}']""", healthCheckTimeout="2"
        ) as train,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(train.dispatcher.keep_time)
        train.want()
        answer = await train.answer()
        nursery.cancel_scope.cancel()

    assert isinstance(answer, Refuse)
    assert answer.error.code == "model_load_timeout"
    assert re.fullmatch(
        r"model m failed to load: it was not ready after 2 s: its own report says that it is "
        r"ready, but nobody listens at http://127\.0\.0\.1:\d+ \(proxy\); let proxy name the "
        r"address on which it listens",
        answer.error.message,
    )


async def test_with_stop_command_stranger_may_serve(tmp_path: Path) -> None:
    options = {"env": "['X=${PORT}']", "cmdStop": "kill ${PID}"}
    async with opened(tmp_path, "sleep 60", **options) as train:
        train.want()
        async with squatter(await train.port()):
            assert isinstance(await train.answer(), Grant)


@pytest.mark.parametrize("cmd", [SERVER, f"sh -c '{SERVER} & wait'", f"setsid --wait {SERVER}"])
async def test_server_behind_wrapper_is_the_model(tmp_path: Path, cmd: str) -> None:
    async with opened(tmp_path, cmd) as train:
        train.want()

        assert isinstance(await train.answer(), Grant)


async def test_a_look_that_fails_ends_its_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ["a"]
    look = PulseWatch.look

    def looked(watch: PulseWatch, now: float) -> None:
        if watch.model in broken:
            raise ZeroDivisionError("a bug")
        look(watch, now)

    monkeypatch.setattr(PulseWatch, "look", looked)
    monkeypatch.setattr(liveness_watch, "LOOK_S", 0.05)
    models = "".join(f"  {name}: {{cmd: '{SERVER}'}}\n" for name in "ab")
    groups = "groups: {all: {members: [a, b], swap: false}}\n"
    async with (
        open_train(tmp_path, f"models:\n{models}{groups}") as train,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(train.dispatcher.keep_time)
        engine = train.dispatcher.engine
        for name in "ba":
            assert isinstance(await train.ask(name), Grant)
        await train.dispatcher.wait_until(lambda engine: engine.state("a") == "stopped")
        assert isinstance(await train.answer(), Void)
        broken.clear()
        assert isinstance(await train.ask("a"), Grant)  # it is looked at again
        assert (engine.state("a"), engine.state("b")) == ("ready", "ready")
        nursery.cancel_scope.cancel()


# --- kinds ----------------------------------------------------------------------------------------

VLLM = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version":"0.11.0"}' if self.path == "/version" else b"ok")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ("", {}),  # says it in its answers
    ],
)
async def test_llama_server_is_known_at_grant(
    tmp_path: Path, options: str, more: dict[str, str]
) -> None:
    async with opened(tmp_path, f"{SERVER} {options}", **more) as train:
        train.want()
        assert await kind_of(train) == "llama-server"


async def test_llama_server_is_known_by_report(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(VLLM)
    says_so = f"""sh -c 'echo "$R"; exec {sys.executable} {tmp_path}/server.py ${{PORT}}'"""
    async with opened(tmp_path, says_so, env=f"['R={READY}']") as train:
        train.want()
        assert await kind_of(train) == "llama-server"


async def kind_of(train: Train) -> UpstreamKind:
    answer = await train.answer()
    assert isinstance(answer, Grant), answer
    return answer.kind


async def test_unchecked_program_is_known_by_name(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\nexec {SERVER.replace('${PORT}', '$1')}\n")
    program.chmod(0o700)
    async with opened(tmp_path, f"{program} ${{PORT}}", checkEndpoint="none") as train:
        train.want()
        assert await kind_of(train) == "llama-server"


async def test_silent_program_is_unknown(tmp_path: Path) -> None:
    async with opened(tmp_path, f"{SERVER}", checkEndpoint="none") as train:
        train.want()
        assert await kind_of(train) == "unknown"


async def test_configured_kind_is_not_probed(tmp_path: Path) -> None:
    async with opened(tmp_path, SERVER, kind="vllm") as train:
        train.want()
        assert await kind_of(train) == "vllm"


async def test_vllm_is_known_at_grant(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(VLLM)
    async with opened(tmp_path, f"{sys.executable} {tmp_path}/server.py ${{PORT}}") as train:
        train.want()
        assert await kind_of(train) == "vllm"
