"""Asks a server what it is: two short questions, which count as no use of it."""

from typing import Final

import trio

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import SeenFacts

from ..host.http_get import Access, GetFailed, get, request_to
from .server_facts import read_facts

# Seconds for both. A server that has just become ready answers in milliseconds.
_ASK_S: Final = 2.0

# Of an answer: /props has the template for chats in it.
_MAX_BYTES: Final = 1024 * 1024

_PATHS: Final[dict[UpstreamKind, tuple[str, ...]]] = {
    "llama-server": ("/v1/models", "/props"),
    "vllm": ("/v1/models",),
}


async def ask_facts(url: str, access: Access, kind: UpstreamKind) -> SeenFacts:
    """Return what the server tells; nothing, if it does not, or is none that would.

    Args:
        url: Its base URL.
        access: The way to it.
        kind: What it is.
    """
    told: list[bytes] = []
    with trio.move_on_after(_ASK_S):
        for path in _PATHS.get(kind, ()):
            try:
                response = await get(request_to(f"{url}{path}", {}, access), _MAX_BYTES)
            except GetFailed:
                break
            told.append(response.body if response.status == 200 else b"")
    return read_facts(*told) if told else SeenFacts()
