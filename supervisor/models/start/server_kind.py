"""The program that serves a model; never guessed from the model's name.

What is written in the configuration counts first. Then what a command surely starts, so that it
is known before the first response; then the server's own headers and version.

Sources: llama.cpp, tools/server/server-http.cpp ("Server: llama.cpp" in every answer);
vLLM, vllm/entrypoints/serve/instrumentator/basic.py (GET /version).
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import trio

from arriero.protocol.read_json import JsonReader
from arriero.protocol.records import UpstreamKind

from ...host.http_get import PLAIN, Access, Response
from ...llamacpp.command import server_options
from ..signs.health import probe

# Seconds for the one query to a server that is ready but did not name its program.
ASK_LIMIT_S: Final = 1.0

_LLAMA_SERVER: Final = "llama.cpp"  # as in `Server`
_LLAMA_IMAGE: Final = "ghcr.io/ggml-org/llama.cpp"


class _Version(msgspec.Struct):
    version: str


_version: Final = JsonReader(_Version)


def kind_of_command(command: Sequence[str]) -> UpstreamKind | None:
    """Return the program that `command` surely starts; None if unclear."""
    if server_options(command, {}) is not None:
        return "llama-server"
    if any(word.startswith(_LLAMA_IMAGE) for word in command):
        return "llama-server"
    if any(
        os.path.basename(word) == "vllm" and then == "serve" for word, then in pairwise(command)
    ):
        return "vllm"
    return None


async def kind_of_server(endpoint: str, health: Response, access: Access = PLAIN) -> UpstreamKind:
    """Return the program at `endpoint`, after at most one short query.

    Args:
        endpoint: Its base URL.
        health: Its response to the health check.
        access: How it is reached.
    """
    if health.headers.get("server") == _LLAMA_SERVER:
        return "llama-server"
    with trio.move_on_after(ASK_LIMIT_S):
        response = await probe(f"{endpoint}/version", with_body=True, access=access)
        if response is not None and response.status == 200 and _version.find(response.body):
            return "vllm"
    return "unknown"
