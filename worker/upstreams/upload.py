"""Bodies of requests on their way: from the client, to an upstream.

Most bodies are read whole before anything is done with them. A form may hold files of any size, so
only its beginning is kept, until it has named its model. If it does so after its files, they are
kept in a file without a name, which is gone with the last one who has it open.
"""

import os
import tempfile
from typing import IO, Final
from urllib.parse import quote_plus

import trio

from ..connections.connection import Connection, WaitingFor
from ..connections.stream import StreamBroken
from ..errors import BadRequest, ClientGone, TooLarge, Unavailable
from ..http.body_memory import MemoryHold
from ..http.body_pace import BodyPace
from ..http.chunked import ChunkedBody, chunk
from ..http.multipart import Fields, FormFinder, read_query
from ..http.request_head import RequestHead
from .pool import UpstreamStream

# Bytes of a form. Longer ones are refused before they are sent, if their length is known.
MAX_UPLOAD_BYTES: Final = 2 * 1024**3

# Bytes of a form that is written like a query, and looked through in one go.
MAX_QUERY_BYTES: Final = 4 * 1024**2

# Bytes of a form that are kept in memory. What is here as a whole can be sent again, to another
# upstream or after a pause.
KEPT_BYTES: Final = 1024**2

# Bytes of one piece, of which an upload has a few in memory at any time.
PIECE_BYTES: Final = 256 * 1024

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class BodySource:
    """The body of a request, read piece by piece from its client.

    Args:
        conn: Where it comes from; bytes after the body are left in its buffer.
        head: Of the request.
        limit_bytes: So long may it be.
        pace: How slowly it may come.
        hint: What a client is told besides whose body is longer.

    Attributes:
        complete: It has been read to its end.
        length: Its bytes; None if nobody knows yet.

    Raises:
        TooLarge: Its head says that it is longer than the limit.
    """

    __slots__ = (
        "_chunks", "_conn", "_continues", "_is_dense", "_left", "_pace", "complete", "length",
    )  # fmt: skip

    def __init__(
        self,
        conn: Connection,
        head: RequestHead,
        limit_bytes: int,
        pace: BodyPace | None = None,
        hint: str = "",
    ) -> None:
        length = head.length
        if length is not None and length > limit_bytes:
            raise TooLarge(f"cannot take a body of more than {limit_bytes} bytes{hint}")
        self.complete = length == 0
        self._conn = conn
        self._continues = head.continues and not conn.buffer
        self._left = length or 0
        self._chunks = ChunkedBody(limit_bytes, hint) if length is None else None
        self._is_dense = False
        self._pace = pace or BodyPace(conn.monitor.limits.body_s)
        self.length = length

    async def read(self) -> bytes:
        """Return the next bytes, about `PIECE_BYTES` at most; none at the end.

        A client that waits for ``100 Continue`` is told to go on before the first read.

        Raises:
            BadRequest: It is wrongly chunked.
            ClientGone: The client left in the middle of it.
            TooLarge: It is longer than the limit.
            TooSlow: The next bytes did not come in time.
        """
        conn = self._conn
        chunks = self._chunks
        while not self.complete:
            data, conn.buffer = conn.buffer, b""
            if not data and not (chunks is not None and chunks.has_more):
                data = await self._receive()
            if self._is_dense:
                await conn.monitor.fairness.turn()
            piece = self._take(data)
            if piece:
                return piece
        return b""

    async def _receive(self) -> bytes:
        conn = self._conn
        if self._continues:
            self._continues = False
            await conn.send(_CONTINUE)
        conn.wait_for(WaitingFor.REQUEST, self._pace.left_s)
        since = trio.current_time()
        data = await conn.receive(
            PIECE_BYTES if self._chunks is not None else min(self._left, PIECE_BYTES)
        )
        if not data:
            raise ClientGone
        self._pace.came(len(data), trio.current_time() - since)
        return data

    def _take(self, data: bytes) -> bytes:
        if self._chunks is not None:
            piece = self._chunks.push(data)
            self._is_dense = self._is_dense or self._chunks.has_more
            if self._chunks.complete:
                self.complete = True
                self._conn.buffer = self._chunks.rest
            return piece
        if len(data) > self._left:
            self._conn.buffer = data[self._left :]
            data = data[: self._left]
        self._left -= len(data)
        self.complete = self._left == 0
        return data


class _Store:
    """The beginning of a body: first in memory, then in a nameless file.

    Calls to a file wait for the disk, so they are made in a thread.

    Args:
        hold: Counts what is in memory.
        body: All of it, if that was read and counted before.

    Attributes:
        size: Bytes of it.
    """

    __slots__ = ("_file", "_hold", "_memory", "size")

    def __init__(self, hold: MemoryHold, body: bytes = b"") -> None:
        self.size = len(body)
        self._hold = hold
        self._memory: bytes | bytearray = body or bytearray()
        self._file: IO[bytes] | None = None

    async def add(self, data: bytes) -> None:
        """Keep `data`, behind what is there.

        Raises:
            Unavailable: The disk does not take it, or there is no memory for it.
        """
        if self._file is None and self.size < KEPT_BYTES:
            self._hold.grow(len(data))
            self.size += len(data)
            self._memory += data
            return
        self.size += len(data)
        try:
            if self._file is None:
                self._file = await trio.to_thread.run_sync(_open_file)
                data = bytes(self._memory) + data
                self._forget()
            await trio.to_thread.run_sync(_write_file, self._file, data)
        except OSError as exc:
            raise Unavailable(
                "cannot keep the upload until its model is known: the disk does not take it; "
                "put the field 'model' before the file",
                code="upload_not_kept",
            ) from exc

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes between two places."""
        if self._file is None:
            return bytes(self._memory[start:end])
        return await trio.to_thread.run_sync(_read_file, self._file, start, end)

    async def aclose(self) -> None:
        """Give the space back; slow for a large file on some disks."""
        self._forget()
        if self._file is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._file.close)

    def _forget(self) -> None:
        self._memory = bytearray()
        self._hold.release()


def _open_file() -> IO[bytes]:
    return tempfile.TemporaryFile(buffering=0)  # so that closing it writes nothing more


def _write_file(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _read_file(file: IO[bytes], start: int, end: int) -> bytes:
    return os.pread(file.fileno(), end - start, start)


class Upload:
    """A form that names a model, or a body that nobody looks at; its end may still be to come.

    Attributes:
        model: As the client wrote it; empty if it names none.
        length: Bytes that will be sent; None if nobody knows: it is sent in chunks.
        replayable: It can be sent from its beginning: all that came is still here.
    """

    __slots__ = ("_conn", "_fields", "_new", "_source", "_store", "length", "model", "replayable")

    def __init__(
        self,
        conn: Connection,
        fields: FormFinder | Fields,
        model: str,
        store: _Store,
        source: BodySource | None = None,
    ) -> None:
        self.model = model
        self.replayable = True
        self._conn = conn
        self._fields = fields
        self._new: bytes | None = None
        self._source = source
        self._store = store
        self.length = store.size if source is None or source.complete else source.length

    @property
    def stream(self) -> bool:
        """Whether a stream is wanted, by what was read so far."""
        return self._fields.stream

    @property
    def drained(self) -> bool:
        """Whether all of it was read, so the next request can be."""
        return self._source is None or self._source.complete

    def rename(self, name: str) -> None:
        """Let the form name another model; all its other bytes stay.

        A form that is written like a query may have its model in the query of its target: then
        nothing of it changes.
        """
        found = self._fields.model
        if found is None:
            return
        old = found.end - found.start if self._new is None else len(self._new)
        is_query = isinstance(self._fields, Fields)
        self._new = quote_plus(name).encode() if is_query else name.encode()
        if self.length is not None:
            self.length += len(self._new) - old

    async def send(self, transport: UpstreamStream) -> bool:
        """Send it, while the rest comes from the client.

        To be called when the connection waits for the upstream, as it does again afterwards: as
        long as that deadline was away is the upstream given for each piece. It may be cancelled,
        when the upstream answers before it has read all.

        Returns:
            Whether all of it was sent; if not, the upstream takes no more, but may have answered.

        Raises:
            BadRequest: The rest is no such form, or is wrongly chunked.
            ClientGone: The client has left, or ended in the middle.
            RequestCancelled: Somebody has asked for the end of the request.
            TooLarge: It is longer than what is taken.
            TooSlow: The client did not send the rest in time.
        """
        assert self.replayable, "what has gone by cannot be sent again"
        conn = self._conn
        pipe = _Pipe(conn, transport, in_chunks=self.length is None)
        try:
            found = self._fields.model
            if found is None or self._new is None:
                await self._send_kept(pipe, 0, self._store.size)
            else:
                await self._send_kept(pipe, 0, found.start)
                await pipe.send(self._new)
                await self._send_kept(pipe, found.end, self._store.size)
            await self._send_rest(pipe)
            await pipe.end()
        except StreamBroken:
            conn.check()
            return False
        finally:
            pipe.wait_for_upstream()
        return True

    async def _send_kept(self, pipe: "_Pipe", start: int, end: int) -> None:
        for at in range(start, end, PIECE_BYTES):
            await pipe.send(await self._store.read(at, min(at + PIECE_BYTES, end)))

    async def _send_rest(self, pipe: "_Pipe") -> None:
        if self._source is None or self._source.complete:
            return
        self.replayable = False
        await self._store.aclose()
        while piece := await self._source.read():
            if isinstance(self._fields, FormFinder):
                self._fields.push(piece)
            await pipe.send(piece)

    async def aclose(self) -> None:
        """Give back what was kept."""
        await self._store.aclose()


class _Pipe:
    """Writes to an upstream, with a deadline for each piece."""

    def __init__(self, conn: Connection, transport: UpstreamStream, *, in_chunks: bool) -> None:
        self._conn = conn
        self._transport = transport
        self._in_chunks = in_chunks
        self._idle_s = conn.deadline - conn.monitor.now

    def wait_for_upstream(self) -> None:
        self._conn.wait_for(WaitingFor.UPSTREAM, self._idle_s)

    async def send(self, data: bytes) -> None:
        self.wait_for_upstream()
        await self._transport.send(chunk(data) if self._in_chunks else data)

    async def end(self) -> None:
        if self._in_chunks:
            self.wait_for_upstream()
            await self._transport.send(_LAST_CHUNK)


async def read_upload(conn: Connection, head: RequestHead, hold: MemoryHold) -> Upload:
    """Read a form of several parts until it has named its model.

    Args:
        conn: Where it comes from.
        head: Of the request.
        hold: Counts what is kept of it.

    Raises:
        ClientGone: The client left before.
        RelayError: It cannot be taken.
    """
    finder = FormFinder(head.content_type)
    source = BodySource(conn, head, MAX_UPLOAD_BYTES)
    store = _Store(hold)
    try:
        while not source.complete and (finder.model is None or store.size < KEPT_BYTES):
            piece = await source.read()
            finder.push(piece)
            await store.add(piece)
        found = finder.model
        if found is None and finder.complete:  # a form goes before the query of the target
            found = read_query(head.target.partition(b"?")[2]).model
        if found is None and not finder.complete:
            raise BadRequest(
                "cannot tell which model is meant: the form ends before its last boundary"
            )
    except BaseException:
        await store.aclose()
        raise
    return Upload(conn, finder, "" if found is None else found.value, store, source)


def pass_upload(conn: Connection, head: RequestHead, hold: MemoryHold, model: str = "") -> Upload:
    """Return a body that nobody looks at, of which nothing was read yet.

    Args:
        conn: Where it comes from.
        head: Of the request, which names the model.
        hold: Counts what is kept of it.
        model: The model's name, if it is known.

    Raises:
        TooLarge: It is longer than what is taken.
    """
    source = BodySource(conn, head, MAX_UPLOAD_BYTES)
    return Upload(conn, Fields(None, False), model, _Store(hold), source)


def upload_of(conn: Connection, head: RequestHead, body: bytes, hold: MemoryHold) -> Upload:
    """Return a form in the shape of a query, read as a whole.

    The query of the target may name the model as well; the form goes before it.

    Raises:
        BadRequest: It is beyond a limit, or names two models.
        TooLarge: It is longer than forms of this kind are.
    """
    if len(body) > MAX_QUERY_BYTES:
        raise TooLarge(
            f"cannot take a form like a query of more than {MAX_QUERY_BYTES} bytes; "
            "send it as multipart/form-data"
        )
    fields = read_query(body)
    found = fields.model or read_query(head.target.partition(b"?")[2]).model
    return Upload(conn, fields, "" if found is None else found.value, _Store(hold, body))
