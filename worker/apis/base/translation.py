"""`Translation`: one request in the words of another API, and its response in those of its own.

The upstream is asked in the other API. All that reads its response for us reads that one, so the
`Api` of such a route has its usage, finish reasons and errors.
"""

from abc import ABC, abstractmethod

from ...json.spans import Steps
from .dialect import ResponseEnd, StreamContext, TranslatingDialect


class Translation(ABC):
    """A request that was translated.

    Attributes:
        model: Name of the model.
        stream: A stream is wanted.
        keep_s: Seconds for which the model is to be kept, at most; None: not said.
        target: Path at which the upstream is asked.
        body: What it is asked; empty if nothing is asked but that the model be loaded.
    """

    def __init__(
        self, *, model: str, stream: bool, keep_s: float | None, target: str, body: bytes
    ) -> None:
        self.model = model
        self.stream = stream
        self.keep_s = keep_s
        self.target = target.encode()
        self.body = body

    @abstractmethod
    def dialect(self, context: StreamContext) -> TranslatingDialect:
        """Return what translates the stream, for one client."""

    @abstractmethod
    def response(self, body: bytes, end: ResponseEnd) -> Steps[bytes]:
        """Return a whole response, translated.

        Raises:
            UpstreamDied: It makes no sense.
        """

    @abstractmethod
    def nothing(self, end: ResponseEnd) -> bytes:
        """Return the response, whole or the only frame, if nothing was asked."""
