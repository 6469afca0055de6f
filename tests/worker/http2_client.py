"""A client of HTTP/2 with prior knowledge, for one request after the other.

Streams side by side, whose windows a test opens or leaves: see `tests.worker.http2`.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import h2.config
import h2.connection
import h2.events
import trio

from tests.worker.rig import Rig

Field: TypeAlias = tuple[str, str]


class Http2Client:
    """Asks whatever it is told to, and reads one response.

    Attributes:
        trailers: Those of the last response that had any.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        config = h2.config.H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.http = h2.connection.H2Connection(config)
        self.http.initiate_connection()
        self.trailers: dict[str, str] = {}

    async def ask(
        self, method: str, path: str, body: bytes = b"", *more: Field
    ) -> tuple[dict[str, str], bytes]:
        """Return fields and body of a response; see `exchange`."""
        fields = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        return await self.exchange([*fields, *more], body)

    async def exchange(
        self, fields: Sequence[Field], body: bytes = b"", *, ends: bool = True
    ) -> tuple[dict[str, str], bytes]:
        """Return fields and body of the response.

        Args:
            fields: Those with a colon first.
            body: Sent behind them, if there is any.
            ends: The request ends with it.

        Raises:
            EOFError: Stream or connection ended before the response.
        """
        number = self.http.get_next_available_stream_id()
        self.http.send_headers(number, fields, end_stream=ends and not body)
        if body:
            self.http.send_data(number, body, end_stream=ends)
        await self._flush()
        headers: dict[str, str] = {}
        got = b""
        while True:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError(got)
            for event in self.http.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=found):
                        headers = {str(name): str(value) for name, value in found or ()}
                    case h2.events.DataReceived(data=piece):
                        got += piece or b""
                        size = event.flow_controlled_length or 0
                        self.http.acknowledge_received_data(size, number)
                    case h2.events.TrailersReceived(headers=found):
                        self.trailers = {str(name): str(value) for name, value in found or ()}
                    case h2.events.StreamReset(stream_id=ended) if ended == number:
                        raise EOFError(got)
                    case h2.events.StreamEnded(stream_id=ended) if ended == number:
                        await self._flush()
                        return headers, got
            await self._flush()

    async def _flush(self) -> None:
        await self.stream.send_all(self.http.data_to_send())


@asynccontextmanager
async def open_http2(rig: Rig) -> AsyncGenerator[Http2Client, None]:
    async with await rig.connect() as stream:
        yield Http2Client(stream)
