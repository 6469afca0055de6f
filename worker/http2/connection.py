"""A connection of HTTP/2: its streams are served as connections of their own.

A request is written as HTTP/1.1 into one end of a socket pair whose other end is served like any
client's connection. So all rules of HTTP/1.1 hold, there is one relay only, and a stream that goes
wrong ends alone.

What is kept of a connection is bounded, whatever its client does and does not read. Of each stream
(at most 100, as the library has it): what the pair holds and one frame on its way down, together
below 256 KiB, and 64 KiB of a body on its way up. Of all together: 256 KiB that are to be sent, and
1 MiB of bodies. A stream is read only when some of it may be sent, so a client that is slow slows
its model down. One that takes nothing for as long as any other client may (`Limits.write_s`) has
had its answer.
"""

import contextlib
import math
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from ..apis.error_response import error_answer
from ..connections.connection import Connection, WaitingFor, Wakeup
from ..connections.stream import SocketStream, StreamBroken
from ..errors import BadRequest, ClientGone, UpstreamDied
from ..http.chunked import chunk
from ..http.request_head import MAX_HEAD_BYTES as MAX_ANSWER_HEAD_BYTES
from ..upstreams.heads import ResponseBody, parse_answer_head
from .frames import MAX_HEAD_BYTES, Flooded, FrameGate
from .heads import Http1Request, answer_fields, read_request, trailer_fields

Serve: TypeAlias = Callable[[socket.socket, bytes], Awaitable[None]]
"""Serves a socket as a client's connection, on behalf of the client with that address."""

# Bytes of bodies of all streams that were not passed on yet; of one stream HTTP/2 gives 65,535.
_CONNECTION_WINDOW: Final = 1024 * 1024

# Bytes that may wait to be sent before no more are made, and before nothing more is read.
_UNSENT_BYTES: Final = 256 * 1024

# Bytes of an answer in one frame: no client has to take more.
_FRAME_BYTES: Final = 16 * 1024

# Bytes that the kernel keeps for a socket pair, each way; it doubles the figure.
_PAIR_BYTES: Final = 64 * 1024

# Bytes of the tables with which heads are packed. Clients may ask for 4 GiB.
_PACKING_TABLE_BYTES: Final = 4096

# Closed streams that are remembered, for frames that were on their way.
_REMEMBERED_STREAMS: Final = 1000

# Seconds for the last frames of a connection, and for its requests to end without it. They notice
# at once or within a second; this is for what has gone wrong.
_LAST_FRAMES_S: Final = 1.0
_LAST_REQUESTS_S: Final = 5.0


class Http2Server:
    """Serves connections of HTTP/2 with prior knowledge.

    Args:
        serve: Serves one request.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._connections: set[_Connection] = set()

    async def __call__(self, conn: Connection, data: bytes) -> None:
        """Serve a connection until it ends, and close it.

        Args:
            conn: The connection.
            data: What was read from it.
        """
        connection = _Connection(conn, self._serve)
        self._connections.add(connection)
        try:
            await connection.run(data)
        finally:
            self._connections.discard(connection)

    def finish(self) -> None:
        """Take no further requests; connections end with those that run."""
        for connection in tuple(self._connections):
            connection.finish()


class _H2(h2.connection.H2Connection):
    MAX_CLOSED_STREAMS = _REMEMBERED_STREAMS
    DEFAULT_MAX_HEADER_LIST_SIZE = MAX_HEAD_BYTES


class _Stream:
    """One request.

    Attributes:
        number: Of the stream.
        request: As HTTP/1.1.
        scope: Cancelled when the client wants no answer any more.
        came: Bytes of the body that were not passed on yet.
        owed: Bytes of its window that are to be given back for them.
        ended: The body is complete.
        wakeup: Something came.
    """

    __slots__ = ("came", "ended", "number", "owed", "request", "scope", "wakeup")

    def __init__(self, number: int, request: Http1Request, *, ended: bool) -> None:
        self.number = number
        self.request = request
        self.scope = trio.CancelScope()
        self.came = bytearray()
        self.owed = 0
        self.ended = ended
        self.wakeup = Wakeup()


class _Connection:
    def __init__(self, conn: Connection, serve: Serve) -> None:
        self._conn = conn
        self._limits = conn.monitor.limits
        self._serve = serve
        self._http = _H2(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding=None,
                # what is sent is clean already: an error in the middle of a head would leave the
                # packing tables in disorder, for all other streams
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._gate = FrameGate(trio.current_time())
        self._streams: dict[int, _Stream] = {}
        self._reading = trio.CancelScope()
        self._out = bytearray()
        self._sending = 0  # bytes that were taken out of it
        self._out_wakeup = Wakeup()
        self._room = trio.Event()  # set when a stream may have more to send; then it is a new one
        self._finishing = False
        self._gone = False

    # --- the connection ------------------------------------------------------------------------

    async def run(self, data: bytes) -> None:
        """Serve it until its end; the socket is closed then.

        Raises:
            Exception: Only for bugs.
        """
        transport = self._conn.transport
        self._conn.wait_for(WaitingFor.SUPERVISOR, math.inf)  # deadlines are kept here
        self._begin()
        async with trio.open_nursery() as requests:
            try:
                async with trio.open_nursery() as writing:
                    writing.start_soon(self._write)
                    with self._reading:
                        await self._read(data, requests)
                    if self._reading.cancelled_caught and not self._gone:
                        self._http.close_connection()  # it is idle, or all is to end
                        self._flush()
                    for stream in tuple(self._streams.values()):
                        stream.scope.cancel()
                    with trio.move_on_after(_LAST_FRAMES_S):
                        await self._write_last()
                    writing.cancel_scope.cancel()
                if not self._gone:
                    await transport.linger()  # bytes on their way here must not wipe the last word
            finally:
                transport.close()
                self._notice_room()
                for stream in tuple(self._streams.values()):
                    stream.scope.cancel()
                requests.cancel_scope.deadline = trio.current_time() + _LAST_REQUESTS_S

    def finish(self) -> None:
        """Say that no further requests are taken, and end with those that run."""
        if self._finishing:
            return
        self._finishing = True
        # GOAWAY comes at the end: some libraries neither send nor read anything after it.
        self._http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        self._flush()
        if not self._streams:
            self._reading.cancel()

    def _begin(self) -> None:
        self._http.initiate_connection()
        self._http.increment_flow_control_window(
            _CONNECTION_WINDOW - self._http.inbound_flow_control_window
        )
        self._reading.deadline = trio.current_time() + self._limits.idle_s
        self._flush()

    async def _read(self, data: bytes, requests: trio.Nursery) -> None:
        """Read until the client leaves, or has to."""
        try:
            while data:
                for piece in self._gate.slices(data, trio.current_time()):
                    while self._unsent() > _UNSENT_BYTES:  # who reads nothing is not read
                        await self._room.wait()
                    for event in self._http.receive_data(piece):
                        self._handle(event, requests)
                    self._flush()
                    await trio.lowlevel.checkpoint()
                data = await self._conn.transport.receive()
            self._gone = True
        except (ClientGone, StreamBroken):
            self._gone = True
        except Flooded:
            self._http.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
        except h2.exceptions.ProtocolError:
            self._flush()  # the library has said so already

    def _handle(self, event: h2.events.Event, requests: trio.Nursery) -> None:
        match event:
            case h2.events.RequestReceived():
                self._open(event, requests)
            case h2.events.DataReceived():
                self._take(event)
            case h2.events.StreamEnded(stream_id=number):
                if (stream := self._streams.get(number or 0)) is not None:
                    stream.ended = True
                    stream.wakeup.set()
            case h2.events.StreamReset(stream_id=number):
                if (stream := self._streams.get(number or 0)) is not None:
                    stream.scope.cancel()
            case h2.events.WindowUpdated():
                self._notice_room()
            case h2.events.RemoteSettingsChanged():
                encoder = self._http.encoder
                encoder.header_table_size = min(encoder.header_table_size, _PACKING_TABLE_BYTES)
                self._notice_room()
            case h2.events.ConnectionTerminated():
                self._gone = True  # the library does not let us answer any more
                self._reading.cancel()
            case _:
                pass

    def _open(self, event: h2.events.RequestReceived, requests: trio.Nursery) -> None:
        number = event.stream_id
        assert number is not None
        if self._finishing:
            self._reset(number, ErrorCodes.REFUSED_STREAM)
            return
        ended = event.stream_ended is not None
        try:
            request = read_request(event.headers or (), ended=ended)
        except BadRequest as error:
            request = Http1Request(b"", False, True, False)
            stream = _Stream(number, request, ended=ended)
            requests.start_soon(self._refuse, stream, error, event.headers or ())
        else:
            stream = _Stream(number, request, ended=ended)
            requests.start_soon(self._answer, stream)
        self._streams[number] = stream
        self._reading.deadline = math.inf

    def _take(self, event: h2.events.DataReceived) -> None:
        number, size = event.stream_id, event.flow_controlled_length
        assert number is not None
        assert size is not None
        stream = self._streams.get(number)
        if stream is None:
            self._give_back(number, size)
            return
        stream.came += event.data or b""
        stream.owed += size
        stream.wakeup.set()

    def _forget(self, stream: _Stream) -> None:
        """Take note of the end of a request."""
        del self._streams[stream.number]
        self._give_back(stream.number, stream.owed)
        self._flush()
        if not self._streams:
            self._reading.deadline = trio.current_time() + self._limits.idle_s
            if self._finishing:
                self._reading.cancel()

    def _give_back(self, number: int, size: int) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):  # the connection has ended
            self._http.acknowledge_received_data(size, number)

    def _reset(self, number: int, code: ErrorCodes) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):  # it has ended, or all has
            self._http.reset_stream(number, code)
        self._flush()

    # --- what is sent --------------------------------------------------------------------------

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data:
            self._out += data
            self._out_wakeup.set()

    def _unsent(self) -> int:
        return len(self._out) + self._sending

    def _notice_room(self) -> None:
        self._room.set()
        self._room = trio.Event()

    async def _write(self) -> None:
        """Send until cancelled, or until the client has gone."""
        try:
            while True:
                await self._out_wakeup.wait()
                await self._write_all()
        except ClientGone:
            self._gone = True
            self._reading.cancel()

    async def _write_all(self) -> None:
        while self._out:
            data, self._out = self._out, bytearray()
            self._sending = len(data)
            await self._conn.send(bytes(data))
            self._sending = 0
            self._notice_room()

    async def _write_last(self) -> None:
        while self._unsent() and not self._gone:
            await self._room.wait()

    # --- one request ---------------------------------------------------------------------------

    async def _refuse(
        self, stream: _Stream, error: BadRequest, fields: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Answer a request that has no form of HTTP/1.1."""
        if (pair := self._pair_for(stream)) is None:
            return
        ours, theirs = pair
        with theirs:
            accept = b",".join(value for name, value in fields if name == b"accept")
            theirs.send(error_answer(error, close=False, accept=accept))
        await self._pass_on(stream, SocketStream(ours))

    async def _answer(self, stream: _Stream) -> None:
        if (pair := self._pair_for(stream)) is None:
            return
        ours, theirs = pair
        async with trio.open_nursery() as serving:
            serving.start_soon(self._serve, theirs, self._conn.peer)
            await self._pass_on(stream, SocketStream(ours))
            # it notices that its client has gone, and says so in the account of the request
            serving.cancel_scope.deadline = trio.current_time() + _LAST_REQUESTS_S

    def _pair_for(self, stream: _Stream) -> tuple[socket.socket, socket.socket] | None:
        """Return a socket pair; None if the stream has ended, now or before it was begun."""
        if not stream.scope.cancel_called:
            try:
                pair = socket.socketpair()
            except OSError:  # no file descriptors: that it was not begun says "again, later"
                self._reset(stream.number, ErrorCodes.REFUSED_STREAM)
            else:
                for end in pair:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PAIR_BYTES)
                return pair
        self._forget(stream)
        return None

    async def _pass_on(self, stream: _Stream, transport: SocketStream) -> None:
        """Pass a request and its answer on between its stream and `transport`, which is closed."""
        code = ErrorCodes.INTERNAL_ERROR
        try:
            with stream.scope:
                if stream.ended and len(stream.came) <= _PAIR_BYTES:
                    await self._pass_body(stream, transport)  # as most do: all fits into the pair
                    await self._pass_answer(stream, transport)
                else:
                    async with trio.open_nursery() as passing:
                        passing.start_soon(self._pass_body, stream, transport)
                        await self._pass_answer(stream, transport)
                        passing.cancel_scope.cancel()
                code = ErrorCodes.NO_ERROR
        except* (StreamBroken, UpstreamDied, ClientGone, h2.exceptions.ProtocolError):
            pass  # it was cut, and so is what the client has of it
        finally:
            transport.close()
            if code != ErrorCodes.NO_ERROR or not stream.ended:
                self._reset(stream.number, code)
            else:
                self._gate.answered()
            self._forget(stream)

    async def _pass_body(self, stream: _Stream, transport: SocketStream) -> None:
        request = stream.request
        try:
            await transport.send(request.head)
            while True:
                ended = stream.ended
                if stream.came:
                    body, stream.came = stream.came, bytearray()
                    owed, stream.owed = stream.owed, 0
                    await transport.send(chunk(bytes(body)) if request.chunked else body)
                    self._give_back(stream.number, owed)
                    self._flush()
                elif ended:
                    break
                else:
                    await stream.wakeup.wait()
            if request.chunked:
                await transport.send(b"0\r\n\r\n")
        except StreamBroken:
            pass  # refused in the middle of the body: the answer says why

    async def _pass_answer(self, stream: _Stream, transport: SocketStream) -> None:
        """Pass the answer on.

        Raises:
            StreamBroken: It was cut.
            UpstreamDied: The same, or it is no HTTP.
            ClientGone: The client takes nothing of it.
            h2.exceptions.ProtocolError: The stream was closed.
        """
        http, number = self._http, stream.number
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_ANSWER_HEAD_BYTES:
                raise UpstreamDied("cannot pass the answer on: its head does not end")
            data += await _receive(transport, _FRAME_BYTES)
        head = parse_answer_head(data[: end + 4])
        if head.status < 200:
            raise UpstreamDied("an interim answer, though none was asked for")
        answer = ResponseBody(head)
        data = data[end + 4 :]
        bodyless = answer.complete or not stream.request.has_answer_body
        http.send_headers(number, answer_fields(head), end_stream=bodyless)
        self._flush()
        if bodyless:
            return
        trailers: list[tuple[bytes, bytes]] = []
        while True:
            body = answer.feed(data) if data else b""
            if answer.complete and stream.request.takes_trailers:
                trailers = trailer_fields(answer.trailers)
            ends = answer.complete and not trailers
            if body:
                await self._send_body(stream, body, ends=ends)
            elif ends:
                http.end_stream(number)
            if answer.complete:
                break
            data = await _receive(transport, await self._wait_for_room(stream))
        if trailers:
            http.send_headers(number, trailers, end_stream=True)
        self._flush()

    async def _send_body(self, stream: _Stream, body: bytes, *, ends: bool) -> None:
        """Send `body`, which is not empty; whether the answer `ends` with it."""
        view = memoryview(body)
        while view:
            room = await self._wait_for_room(stream)
            piece, view = view[:room], view[room:]
            self._http.send_data(stream.number, bytes(piece), end_stream=ends and not view)
            self._gate.sent(len(piece))
            self._flush()

    async def _wait_for_room(self, stream: _Stream) -> int:
        """Return how many bytes of an answer may be sent now, at least one.

        Raises:
            ClientGone: The client does not take any, for as long as it may.
            h2.exceptions.ProtocolError: The stream was closed.
        """
        if (room := self._room_for(stream)) > 0:  # as nearly always
            return room
        with trio.move_on_after(self._limits.write_s):
            while (room := self._room_for(stream)) <= 0:
                await self._room.wait()
            return room
        raise ClientGone

    def _room_for(self, stream: _Stream) -> int:
        if self._unsent() >= _UNSENT_BYTES:
            return 0
        return min(self._http.local_flow_control_window(stream.number), _FRAME_BYTES)


async def _receive(transport: SocketStream, most: int) -> bytes:
    data = await transport.receive(most)
    if not data:
        raise UpstreamDied("the answer was cut")
    return data
