"""Asks a llama-server to save and restore its slots. The deadline is the caller's.

Source: llama.cpp, tools/server/README.md, "POST /slots/{id_slot}?action=save" and "GET /props".
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio

from arriero.protocol.read_json import BadJson, JsonReader

from ..config.load import LaunchConfig, ModelConfig
from ..host.http_get import PLAIN, Access, GetFailed, get, post, request_to
from ..llamacpp.command import server_options
from .manifest import MAX_SLOTS, FileState, ServerIdentity

T = TypeVar("T")

# Most of an answer that is read: /props has the template for chats in it.
_MAX_BYTES: Final = 4 * 1024 * 1024

_HEADERS: Final = {"Accept": "application/json", "Content-Type": "application/json"}


class SlotsFailed(Exception):
    """A server did not do what it was asked for; the message has the reason.

    Attributes:
        for_good: It would not do it the next time either.
    """

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


class SlotServer(msgspec.Struct, frozen=True, kw_only=True):
    """A llama-server that is ready.

    Attributes:
        model: Its id.
        url: Its base URL.
        access: How it is asked.
        folder: Its ``--slot-save-path``.
        arguments: Hash of its command.
        files: Of its model, as far as the command names them.
    """

    model: str
    url: str
    access: Access = PLAIN
    folder: str
    arguments: str
    files: tuple[Path, ...] = ()


def slot_server(config: ModelConfig, launch: LaunchConfig, access: Access) -> SlotServer | None:
    """Return a server whose slots can be saved; None if its command does not say where."""
    if config.is_elsewhere:
        return None
    options = server_options(launch.command, dict(launch.env))
    if options is None or not options.slot_save_path.value:
        return None
    return SlotServer(
        model=config.model,
        url=launch.base_url,
        access=access,
        folder=os.path.abspath(options.slot_save_path.value),
        arguments=config.fingerprint,
        files=options.files,
    )


class _Properties(msgspec.Struct):
    total_slots: int
    build_info: str
    model_path: str = ""


class _Saved(msgspec.Struct):
    n_saved: int


class _Restored(msgspec.Struct):
    n_restored: int


_properties: Final = JsonReader(_Properties)
_saved: Final = JsonReader(_Saved)
_restored: Final = JsonReader(_Restored)


async def identify(server: SlotServer) -> tuple[ServerIdentity, int]:
    """Return what the server is, and the number of its slots.

    Raises:
        SlotsFailed: It does not say.
    """
    found = await _ask(server, "/props", None, _properties.read)
    files = dict.fromkeys((*server.files, *([Path(found.model_path)] if found.model_path else ())))
    states = await trio.to_thread.run_sync(_states, files)
    if not states:
        raise SlotsFailed("the file of its model is not known", for_good=True)
    identity = ServerIdentity(arguments=server.arguments, build=found.build_info, files=states)
    return identity, max(0, min(found.total_slots, MAX_SLOTS))


async def save_slot(server: SlotServer, slot: int, name: str) -> int:
    """Save a slot in the file `name`; return how many tokens it holds.

    Raises:
        SlotsFailed: It was not saved.
    """
    return (await _ask(server, f"/slots/{slot}?action=save", name, _saved.read)).n_saved


async def restore_slot(server: SlotServer, slot: int, name: str) -> int:
    """Restore a slot from the file `name`; return how many tokens it holds.

    Raises:
        SlotsFailed: It was not restored.
    """
    return (await _ask(server, f"/slots/{slot}?action=restore", name, _restored.read)).n_restored


async def _ask(server: SlotServer, target: str, name: str | None, read: Callable[[bytes], T]) -> T:
    try:
        request = request_to(server.url + target, _HEADERS, server.access)
        if name is None:
            response = await get(request, _MAX_BYTES)
        else:
            body = msgspec.json.encode({"filename": name})
            response = await post(request, body, _MAX_BYTES)
        if response.status != 200:
            raise SlotsFailed(
                f"it answered with status {response.status}",
                for_good=response.status in {404, 405, 501},
            )
        return read(response.body)
    except (GetFailed, BadJson) as exc:
        raise SlotsFailed(str(exc)) from exc


def _states(files: Iterable[Path]) -> tuple[FileState, ...]:
    """Return how the files are; those that are missing are left out."""
    states = []
    for path in files:
        try:
            found = path.stat()
        except (OSError, ValueError):
            continue
        states.append(FileState(os.path.abspath(path), found.st_size, found.st_mtime_ns))
    return tuple(states)
