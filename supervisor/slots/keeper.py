"""Saves the slots of llama-servers before they stop, and restores them after the next start.

Nothing waits for it longer than its deadlines, and nothing fails because of it: at worst the next
prompt is read from its beginning, as it would have been anyway.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import trio

from arriero.digests import random_hex
from arriero.protocol.records import RequestRecord

from ..config.load import Config
from .manifest import Manifest, SavedModel, SavedSlot, file_name
from .saved_files import (
    free_bytes,
    load_manifest,
    make_file,
    remove_files,
    save_manifest,
    size_of,
)
from .server_slots import SlotServer, SlotsFailed, identify, restore_slot, save_slot
from .worth import Worth

log = logging.getLogger(__name__)

# Seconds that a stop is put off, and a start, at the very most. A few GB take as many seconds.
SAVE_LIMIT_S: Final = 10.0
RESTORE_LIMIT_S: Final = 10.0

# Bytes of a disk that are left to others: no slot is saved when there are less.
_LEFT_BYTES: Final = 1024**3

_TOKEN_BYTES: Final = 8


class SlotKeeper:
    """Keeps the slots of all models.

    Args:
        config: Gives the configuration in force.
        path: Of the manifest.
    """

    def __init__(self, config: Callable[[], Config], path: Path) -> None:
        self._config = config
        self._path = path
        self._manifest: Manifest = load_manifest(path)
        self._worth = Worth()
        self._writing = trio.Lock()

    async def sweep(self) -> None:
        """Remove what was not saved whole, and what belongs to no model that saves its slots."""
        models = self._config().models
        wanting = frozenset(name for name, model in models.items() if model.save_slots)
        self._worth.forget(wanting)
        for model in self._manifest.models():
            saved = self._manifest.get(model)
            if model not in wanting or saved is None or not saved.is_whole:
                await self._remove(model)

    def has(self, model: str) -> bool:
        """Return whether something is saved of `model`."""
        return self._manifest.get(model) is not None

    def why_off(self, model: str) -> str:
        """Return why slots of `model` are not saved any more; empty if they are."""
        config = self._config().models.get(model)
        return "" if config is None else self._worth.why_off(model, config.fingerprint)

    async def save(self, server: SlotServer) -> None:
        """Save the slots of a server that is about to stop, as far as time and disk allow.

        To be cancelled if it has to stop at once: what is saved by then is kept.
        """
        model, arguments = server.model, server.arguments
        if self._worth.why_off(model, arguments):
            return
        await self.sweep()
        began_at = trio.current_time()
        done: list[SavedSlot] = []
        planned: list[SavedSlot] = []
        limit = trio.move_on_after(SAVE_LIMIT_S)
        try:
            with limit:
                await self._save(server, planned, done)
        except SlotsFailed as exc:
            if exc.for_good:
                self._worth.give_up(model, arguments, str(exc))
            log.warning("slots.not_saved model=%s reason=%s", model, exc)
        except OSError as exc:
            log.warning("slots.not_saved model=%s reason=%s", model, exc.strerror)
        finally:
            await self._finish(server, planned, done)
        if limit.cancelled_caught:
            log.warning("slots.not_saved model=%s reason=it takes too long", model)
        if done:
            log.info(
                "slots.saved model=%s slots=%d tokens=%d bytes=%d took_s=%.2f",
                *(model, len(done), sum(slot.tokens for slot in done)),
                *(sum(slot.size_bytes for slot in done), trio.current_time() - began_at),
            )

    async def restore(self, server: SlotServer, limit_s: float) -> None:
        """Restore what is saved of a server, before it gets requests.

        Args:
            server: It is ready, and has no request.
            limit_s: How long that may take.
        """
        model, arguments = server.model, server.arguments
        saved = self._manifest.get(model)
        if saved is None:
            return
        if self._worth.why_off(model, arguments):
            await self._remove(model)
            return
        began_at = trio.current_time()
        tokens = 0
        limit = trio.move_on_after(max(0.0, min(limit_s, RESTORE_LIMIT_S)))
        try:
            with limit:
                tokens = await self._restore(server, saved)
        except SlotsFailed as exc:
            log.warning("slots.not_restored model=%s reason=%s", model, exc)
            await self._remove(model)
        except trio.Cancelled:  # it has ended: perhaps of what it has read
            with trio.CancelScope(shield=True):
                await self._remove(model)
            raise
        if limit.cancelled_caught:
            log.warning("slots.not_restored model=%s reason=it takes too long", model)
            if self._worth.took_too_long(model, arguments):
                self._tell_off(model)
        elif tokens:
            self._worth.restored(model, arguments, time.time())
            took_s = trio.current_time() - began_at
            log.info("slots.restored model=%s tokens=%d took_s=%.2f", model, tokens, took_s)

    def note(self, records: Iterable[RequestRecord]) -> None:
        """Take note of requests that have ended."""
        if not self._worth.is_curious:
            return
        for record in records:
            helped = self._worth.judge(record)
            if helped is None:
                continue
            log.info(
                "slots.used model=%s helped=%s cached_tokens=%d input_tokens=%d",
                *(record.model, "yes" if helped else "no"),
                *(record.cached_tokens, record.input_tokens),
            )
            if not helped:
                self._tell_off(record.model)

    def _tell_off(self, model: str) -> None:
        if why := self.why_off(model):
            log.warning("slots.off model=%s reason=%s", model, why)

    async def _save(
        self, server: SlotServer, planned: list[SavedSlot], done: list[SavedSlot]
    ) -> None:
        identity, count = await identify(server)
        await self._remove(server.model)  # what it holds now is newer
        token = random_hex(_TOKEN_BYTES)
        planned += [SavedSlot(slot, file_name(token, slot)) for slot in range(count)]
        saved = SavedModel(
            folder=server.folder, identity=identity, saved_at=time.time(), slots=tuple(planned)
        )
        # Named before they are written: so none is left behind, should we die.
        self._manifest.put(server.model, saved)
        if not await self._write_manifest():
            raise SlotsFailed("the manifest cannot be written")
        left = self._config().save_slots_limit_bytes
        for slot in planned:
            path = Path(server.folder, slot.name)
            if await trio.to_thread.run_sync(free_bytes, server.folder) < _LEFT_BYTES:
                raise SlotsFailed("its disk is nearly full")
            await trio.to_thread.run_sync(make_file, path)
            tokens = await save_slot(server, slot.slot, slot.name)
            size = await trio.to_thread.run_sync(size_of, path)
            if not size:
                raise SlotsFailed("it saves in a folder that is not here", for_good=True)
            if size > left:
                raise SlotsFailed("it takes more than saveSlotsLimit")
            if tokens:
                left -= size
                done.append(SavedSlot(slot.slot, slot.name, size, tokens))

    async def _finish(
        self, server: SlotServer, planned: list[SavedSlot], done: list[SavedSlot]
    ) -> None:
        """Keep what was saved whole, and no more than may be kept."""
        begun = self._manifest.get(server.model)
        if not planned or begun is None:
            return
        kept = {slot.name for slot in done}
        unwanted = [slot.name for slot in planned if slot.name not in kept]
        with trio.CancelScope(shield=True):  # it takes a moment, and nobody else would do it
            await trio.to_thread.run_sync(remove_files, server.folder, unwanted)
            if done:
                saved = SavedModel(
                    folder=begun.folder,
                    identity=begun.identity,
                    saved_at=begun.saved_at,
                    slots=tuple(done),
                )
                self._manifest.put(server.model, saved)
            else:
                self._manifest.remove(server.model)
            for model in list(self._manifest.beyond(self._config().save_slots_limit_bytes)):
                log.info("slots.removed model=%s reason=saveSlotsLimit is reached", model)
                await self._remove(model)
            await self._write_manifest()

    async def _restore(self, server: SlotServer, saved: SavedModel) -> int:
        """Return how many tokens were restored."""
        identity, count = await identify(server)
        why = saved.identity.misfit(identity)
        if why or saved.folder != server.folder:
            log.info("slots.removed model=%s reason=%s", server.model, why or "it saves elsewhere")
            await self._remove(server.model)
            return 0
        tokens = 0
        for slot in saved.slots:
            path = Path(saved.folder, slot.name)
            if await trio.to_thread.run_sync(size_of, path) != slot.size_bytes:
                raise SlotsFailed("a file is not the one that was saved")
            if slot.slot < count:
                tokens += await restore_slot(server, slot.slot, slot.name)
        return tokens

    async def _remove(self, model: str) -> None:
        """Remove all that is saved of `model`."""
        saved = self._manifest.get(model)
        if saved is not None:
            self._manifest.remove(model)
            names = [slot.name for slot in saved.slots]
            await trio.to_thread.run_sync(remove_files, saved.folder, names)
            await self._write_manifest()

    async def _write_manifest(self) -> bool:
        """Return whether it was written; if not, the log has the reason."""
        async with self._writing:  # so that the last one written is the newest
            return await trio.to_thread.run_sync(save_manifest, self._path, self._manifest.encode())
