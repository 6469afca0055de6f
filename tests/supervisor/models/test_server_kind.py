"""What serves a model is told by its command, or by itself; never by the model's name."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import UpstreamKind
from arriero.supervisor.host.http_get import Response
from arriero.supervisor.models.start.server_kind import ASK_LIMIT_S, kind_of_command, kind_of_server


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("llama-server -m x.gguf", "llama-server"),
        ("/opt/llama.cpp/build/bin/llama-server --port 1", "llama-server"),
        ("env A=b numactl llama-server-cuda12 -m x", "llama-server"),
        ("docker run --rm ghcr.io/ggml-org/llama.cpp:server-cuda -m x", "llama-server"),
        ("podman run ghcr.io/ggml-org/llama.cpp@sha256:abc", "llama-server"),
        ("vllm serve llama-server --port 1", "vllm"),
        ("/venv/bin/vllm serve m", "vllm"),
        ("uv run vllm serve m", "vllm"),
        ("vllm bench serve", None),
        ("docker run --name llama-server mine", None),
        ("python serve.py --model vllm", None),
        ("sh -c llama-server", None),
    ],
)
def test_a_command_tells_what_it_surely_starts(command: str, kind: UpstreamKind | None) -> None:
    assert kind_of_command(command.split()) == kind


@given(st.lists(st.text(max_size=8)))
def test_any_command_has_a_kind_or_none(command: list[str]) -> None:
    assert kind_of_command(command) in {None, "llama-server", "vllm"}


async def test_llama_server_says_so_and_is_not_asked_again() -> None:
    assert (
        await kind_of_server("http://127.0.0.1:1", Response(200, {"server": "llama.cpp"}))
        == "llama-server"
    )


Handler = Callable[[trio.abc.Stream], Awaitable[None]]


async def kind_at(handler: Handler) -> UpstreamKind:
    """Ask a server whose health says nothing."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        kind = await kind_of_server(
            f"http://127.0.0.1:{port}", Response(200, {"server": "uvicorn"})
        )
        nursery.cancel_scope.cancel()
    return kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (b"200 OK", b'{"version":"0.11.0"}', "vllm"),
        (b"200 OK", b'{"version":1}', "unknown"),
        (b"200 OK", b'["version"]', "unknown"),
        (b"200 OK", b"0.11.0", "unknown"),
        (b"200 OK", b"\xff", "unknown"),
        (b"200 OK", b'{"a":' + b"[" * 50_000, "unknown"),
        (b"404 Not Found", b'{"version":"0.11.0"}', "unknown"),
    ],
)
async def test_vllm_tells_its_version(status: bytes, body: bytes, kind: UpstreamKind) -> None:
    asked = []

    async def handler(stream: trio.abc.Stream) -> None:
        asked.append(bytes(await stream.receive_some()).split(b"\r\n")[0])
        await stream.send_all(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
        await stream.send_all(body)

    assert await kind_at(handler) == kind
    assert asked == [b"GET /version HTTP/1.1"]


async def test_a_server_that_does_not_answer_is_not_waited_for_long() -> None:
    async def says_nothing(_: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    began_at = trio.current_time()

    assert await kind_at(says_nothing) == "unknown"
    assert trio.current_time() - began_at >= ASK_LIMIT_S


async def test_a_server_that_has_gone_is_unknown() -> None:
    assert await kind_of_server("http://127.0.0.1:1", Response(200)) == "unknown"
