"""A web server for tests: real sockets, and answers that are not always good ones."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import trio

HANGS = b"(never answers)"


def answer(body: bytes, status: str = "200 OK", fields: str = "") -> bytes:
    """Return a whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode() + body


class FileServer:
    """Gives one answer after the other, and the last one for ever; a connection each.

    Attributes:
        port: On 127.0.0.1.
        heads: Of the requests so far.
    """

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self._answers = answers
        self._asked = trio.Event()

    @property
    def url(self) -> str:
        """Of some file on it."""
        return f"http://127.0.0.1:{self.port}/api.json"

    async def wait_until_asked(self, times: int) -> None:
        """Return once so many requests have come."""
        while len(self.heads) < times:
            await self._asked.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one request."""
        self.heads.append(bytes(await stream.receive_some()))
        self._asked.set()
        self._asked = trio.Event()
        given = self._answers[min(len(self.heads), len(self._answers)) - 1]
        if given is HANGS:
            await trio.sleep_forever()
        with suppress(trio.BrokenResourceError):  # it has read enough
            await stream.send_all(given)

    async def listen(self, port: int, task_status: trio.TaskStatus[None]) -> None:
        """Answer until cancelled."""
        [listener] = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self.serve, [listener], task_status=_Started(task_status))


class _Started:
    """Tells only that the listeners are there."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, value: object = None) -> None:
        """Pass it on."""
        self._task_status.started()


@asynccontextmanager
async def file_server(*answers: bytes, port: int = 0) -> AsyncGenerator[FileServer, None]:
    """Answer on 127.0.0.1 while the block runs, which has half a minute."""
    server = FileServer(answers)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(server.listen, port)
            yield server
            nursery.cancel_scope.cancel()
