"""Clients that can tell a clean end from a cut one: h11 on a bare socket."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import h11
import trio

from .endings import Answer, Stop, events

CHUNK = "w{} "  # what the scripted upstream says, with a number


@dataclass(slots=True, kw_only=True, eq=False)
class Client:
    """One client and its one request.

    Attributes:
        path: Of the request.
        body: Of the request.
        sends: Its type.
        fields: Header fields besides the usual ones.
        streams: It asks for a stream.
        wanted: The whole text of the answer; None if nobody knows it.
        late: It comes when the fault has begun.
        local_port: Its end of the connection; 0 before there is one.
        status: Of the answer; None before its head came.
        content_type: Of the answer.
        received: Body of the answer so far.
        answer: How it ended, in the end.
        took_s: Seconds from the request to the end.
        ended: There is an answer.
    """

    path: str = "/v1/chat/completions"
    body: bytes
    sends: str = "application/json"
    fields: tuple[tuple[str, str], ...] = ()
    streams: bool
    wanted: str | None
    late: bool = False
    local_port: int = 0
    status: int | None = None
    content_type: str = ""
    received: bytearray = field(default_factory=bytearray)
    answer: Answer | None = None
    took_s: float = 0.0
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def begun(self) -> bool:
        """The head of an answer has come."""
        return self.status is not None

    def text_began(self) -> bool:
        """The first word of the model has come."""
        found = events(bytes(self.received))
        choices = [choice for event in found for choice in event.get("choices", [])]
        return any(choice["delta"].get("content") for choice in choices)

    async def run(self, port: int) -> None:
        """Ask, and read to the end; on cancellation it counts as a hang."""
        began = trio.current_time()
        stop = Stop.TIMEOUT
        try:
            stop = await self._ask(port)
        finally:
            self.took_s = trio.current_time() - began
            self.answer = Answer(
                status=self.status,
                content_type=self.content_type,
                body=bytes(self.received),
                stop=stop,
            )
            self.ended.set()

    async def _ask(self, port: int) -> Stop:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return Stop.CUT  # refused
        async with stream, trio.open_nursery() as nursery:
            self.local_port = stream.socket.getsockname()[1]
            http = h11.Connection(h11.CLIENT)
            head = h11.Request(
                method="POST",
                target=self.path,
                headers=[
                    ("Host", f"127.0.0.1:{port}"),
                    ("Content-Type", self.sends),
                    ("Content-Length", str(len(self.body))),
                    *self.fields,
                ],
            )
            data = [http.send(head), http.send(h11.Data(data=self.body))]
            data.append(http.send(h11.EndOfMessage()))
            # Whoever refuses a body answers before the end of it.
            nursery.start_soon(_send, stream, b"".join(part or b"" for part in data))
            stop = await self._read(http, stream)
            nursery.cancel_scope.cancel()
        return stop

    async def _read(self, http: h11.Connection, stream: trio.SocketStream) -> Stop:
        ended = False
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError:
                return Stop.CUT if ended else Stop.GARBAGE
            if event is h11.NEED_DATA:
                try:
                    data = await stream.receive_some(65536)
                except trio.BrokenResourceError:
                    return Stop.CUT
                ended = not data
                http.receive_data(data)
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                fields = dict(event.headers)
                self.content_type = fields.get(b"content-type", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                self.received += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Stop.END
            elif isinstance(event, h11.ConnectionClosed):
                return Stop.CUT


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # reading says why
        await stream.send_all(data)


def chat(
    model: str,
    *,
    chunks: int = 5,
    delay_s: float = 0.0,
    sleep_s: float = 0.0,
    say: int = 0,
    gate: Path | None = None,
    hold: Path | None = None,
    mode: str | None = None,
    stream: bool = True,
    late: bool = False,
) -> Client:
    """Return a client that chats with `model`.

    Args:
        model: Its name.
        chunks: Words of the answer.
        delay_s: Before each of them, in a stream.
        sleep_s: Before the head of the answer.
        say: Lines that the model writes to its log.
        gate: A file without which the answer does not go on: a stream before its last word, an
            object in its middle.
        hold: A file without which it does not begin.
        mode: How it wants to be told of progress.
        stream: Or an object.
        late: It comes when the fault has begun.
    """
    script = f"chunks={chunks},delay={delay_s},sleep={sleep_s},say={say}"
    script += f",gate={gate}" * (gate is not None) + f",hold={hold}" * (hold is not None)
    body = {"model": model, "messages": [], "stream": stream, "script": script}
    return Client(
        body=json.dumps(body).encode(),
        fields=() if mode is None else (("X-Swap-Progress", mode),),
        streams=stream,
        wanted="".join(CHUNK.format(number) for number in range(1, chunks + 1)),
        late=late,
    )


def real_chat(*, tokens: int, stream: bool, late: bool = False) -> Client:
    """Return a client that chats with a real model `a`, which says so many words at random."""
    body = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return Client(
        body=json.dumps(body | {"max_tokens": tokens}).encode(),
        streams=stream,
        wanted=None,
        late=late,
    )


def upload(model: str, *, size: int, sleep_s: float = 0.0, late: bool = False) -> Client:
    """Return a client that sends a form whose file comes before its model: it is kept on disk.

    Args:
        model: Its name.
        size: Bytes of the file.
        sleep_s: Before the head of the answer.
        late: It comes when the fault has begun.
    """
    mark = "-----form"
    disposition = "Content-Disposition: form-data; name="
    file = f'--{mark}\r\n{disposition}"file"; filename="a.wav"\r\n\r\n'.encode() + bytes(size)
    named = f'\r\n--{mark}\r\n{disposition}"model"\r\n\r\n{model}\r\n--{mark}--\r\n'.encode()
    return Client(
        path="/v1/audio/transcriptions",
        body=file + named,
        sends=f"multipart/form-data; boundary={mark}",
        fields=(("X-Script", f"sleep={sleep_s}"),),
        streams=False,
        wanted="".join(CHUNK.format(number) for number in range(1, 6)),
        late=late,
    )
