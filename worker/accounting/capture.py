"""Keeps a request and the response to it, where the configuration asks for that."""

import re
from collections.abc import Callable
from typing import Final

from arriero.protocol.records import RawCapture

from ..http.request_head import RequestHead
from .account import Account

# Of a response's head, and of the framing of its body, beside what is kept of that.
_HEAD_BYTES: Final = 64 * 1024

# Fields that let somebody in, by the ends of their names, one word or not; those in which keys are
# looked for are known anyway.
_SECRET: Final = re.compile(
    rb".*(?:key|token|secret|passw(?:or)?d|signature|cookie|credentials?|jwt|csrf)"
    rb"|(?:.*[-_])?auth(?:orization|entication)?"
)
_HIDDEN: Final = "[REDACTED]"


class ResponseRecorder:
    """Takes what is sent to a client, up to a limit.

    Args:
        most_bytes: Of the body.
        also: Gets the same.

    Attributes:
        also: The same.
    """

    def __init__(self, most_bytes: int, also: Callable[[bytes], None] | None = None) -> None:
        self.most_bytes = most_bytes
        self.also = also
        self._left = most_bytes + _HEAD_BYTES
        self._pieces: list[bytes] = []
        self._is_cut = False

    def __call__(self, data: bytes) -> None:
        """Take what is sent now."""
        if self.also is not None:
            self.also(data)
        if self._left >= len(data):
            self._pieces.append(data)
        else:
            self._is_cut = True
            self._pieces.append(data[: self._left])
        self._left -= len(self._pieces[-1])

    def capture(self, account: Account, caller: str, head: RequestHead, body: bytes) -> RawCapture:
        """Return what there is, for a request that has ended.

        Args:
            account: Of the request.
            caller: Whose it is.
            head: Of the request.
            body: The same; empty if nobody has it as a whole.
        """
        fields = [(name, _shown(name, value)) for name, value in (*head.fields(), *head.own)]
        fields += [(name, _HIDDEN) for name, _ in head.keys]
        return RawCapture(
            request_id=account.request_id,
            path=account.path.decode("latin-1"),
            caller=caller,
            request_fields=tuple((name.decode("latin-1"), value) for name, value in fields),
            request_body=body[: self.most_bytes],
            response=b"".join(self._pieces),
            most_bytes=self.most_bytes,
            is_cut=self._is_cut or len(body) > self.most_bytes,
        )


def _shown(name: bytes, value: bytes) -> str:
    return _HIDDEN if _SECRET.fullmatch(name) else value.decode("latin-1")
