"""Replies as lines and tables. No I/O."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from arriero.protocol.control.models import (
    ExplainReply,
    HoldReply,
    PlaceStanding,
    ProfilesReply,
    SwapReply,
    UnloadReply,
)
from arriero.protocol.control.running import PingReply, StatusReply
from arriero.protocol.control.settings import ReloadReply
from arriero.protocol.values import (
    ConfigChanges,
    ConfigStatus,
    DeviceStatus,
    ErrorInfo,
    KeepStatus,
    KeptModel,
    ModelFit,
    ModelStatus,
    PeerModelStatus,
    PeerStatus,
    Progress,
    QueueEntry,
    StoreStatus,
    WorkerStatus,
)

from ...text.printable import clean

NOTHING: Final = "-"

# Characters around and between the columns that are drawn on a terminal: three for each but one.
_FRAME: Final = 3

_Column: TypeAlias = tuple[str, tuple[str, ...]]

# Models of another machine that are named on one line.
_MAX_RUNNING: Final = 3

# Findings in a configuration that are shown with a status, which is about other things.
_MAX_FINDINGS: Final = 5


class Table(msgspec.Struct, frozen=True):
    """Rows of cells under a head.

    Attributes:
        head: Names of the columns.
        rows: Their cells.
        right: Columns whose cells are numbers.
        spare: Columns that a narrow terminal does without, the first one first.
        least: Characters to which the last column may be cut there.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()
    spare: tuple[str, ...] = ()
    least: int = 20


def fitted(table: Table, width: int) -> Table:
    """Return `table` for a terminal that is `width` characters wide.

    Columns in which nothing stands are left out, then those that can be spared, as far as need be,
    and the last column is cut, if that is enough.
    """
    cells_of = zip(*table.rows, strict=True)
    columns = [
        (head, cells)
        for head, cells in zip(table.head, cells_of, strict=bool(table.rows))
        if any(cell != NOTHING for cell in cells)
    ]
    if not columns:
        return table
    for name in table.spare:
        if _room(columns, width) >= min(table.least, _width(columns[-1])):
            break
        columns = [column for column in columns if column[0] != name] or columns
    room = max(table.least, _room(columns, width))
    head, cells = columns[-1]
    columns[-1] = head, tuple(_cut(cell, room) for cell in cells)
    return replace(
        table,
        head=tuple(head for head, _ in columns),
        rows=tuple(zip(*(cells for _, cells in columns), strict=True)),
    )


def _room(columns: "Sequence[_Column]", width: int) -> int:
    """Return the width that all other columns leave to the last one."""
    return width - sum(map(_width, columns[:-1])) - _FRAME * len(columns) + 1


def _width(column: "_Column") -> int:
    head, cells = column
    return max(map(len, (head, *cells)))


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"


def duration(seconds: float) -> str:
    """Return a duration in at most two units, short enough for a column."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def percent(fraction: float) -> str:
    """Return a share as whole percent, never 100.

    `ready` is shown instead.
    """
    return f"{min(99, int(fraction * 100 + 1e-9))} %"


def phase(progress: Progress) -> str:
    """Return the current phase, in a word or two."""
    if progress.other and progress.phase in {"draining", "stopping"}:
        return f"{progress.phase} {clean(progress.other)}"
    return progress.phase


def describe(progress: Progress) -> str:
    """Return the progress towards ready, on one line."""
    parts = [phase(progress)]
    if progress.fraction is not None:
        parts[0] += f" {percent(progress.fraction)}"
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    if progress.bytes_done is not None and progress.bytes_total:
        parts.append(f"{_size(progress.bytes_done)} of {_size(progress.bytes_total)}")
    parts.append(f"{duration(progress.elapsed_s)} so far")
    if progress.detail:
        parts.append(clean(progress.detail))
    return ", ".join(parts)


def _size(size_bytes: int) -> str:
    if size_bytes < 10**9:
        return f"{size_bytes / 10**6:.1f} MB"
    return f"{size_bytes / 10**9:.2f} GB"


def queue_line(queue: Sequence[QueueEntry]) -> str:
    """Return the queue, in the order of turns."""
    turns = (
        f"{clean(entry.model)} ({f'{entry.waiting} waiting' if entry.waiting else 'ordered'})"
        for entry in queue
    )
    return ", then ".join(turns) or "nobody waits"


def headline(status: StatusReply) -> str:
    """Return the state of the whole supervisor."""
    return (
        f"arriero {clean(status.version)} listens on {clean(status.listen)}, "
        f"up {duration(status.uptime_s)}; queue: {queue_line(status.queue)}"
    )


def config_lines(config: ConfigStatus, now: float) -> list[str]:
    """Return the state of the configuration, and the last failed reload.

    Args:
        config: From a status.
        now: Unix time of the status.
    """
    files = ", ".join(map(clean, config.files)) or NOTHING
    lines = [
        f"configuration: generation {config.generation} of {files}, "
        f"in force for {duration(max(0.0, now - config.loaded_at))}"
    ]
    if config.profile is not None:
        lines[0] += f"; profile: {clean(config.profile)}"
    if config.needs_restart:
        lines[0] += f"; needs a restart: {', '.join(map(clean, config.needs_restart))}"
    if config.warnings:
        count = f"{config.warnings} warning{'s' * (config.warnings != 1)}"
        lines[0] += f"; {count}"
        lines += [f"warning: {clean(one)}" for one in config.findings[:_MAX_FINDINGS]]
        if config.warnings > _MAX_FINDINGS:
            lines.append(f"... and {config.warnings - _MAX_FINDINGS} more, see `arriero check`")
    if config.failed is not None:
        problems = config.failed.problems
        others = len(problems) - 1 + config.failed.more
        more = f" (and {others} more; `arriero reload --dry-run` shows them)" if others > 0 else ""
        lines += [
            f"the last reload failed {duration(max(0.0, now - config.failed.t))} ago: "
            f"{clean(problems[0]) if problems else NOTHING}{more}"
        ]
    return lines


def profiles_table(reply: ProfilesReply) -> Table:
    """Return the profiles, and what each one makes of names."""
    return Table(
        head=("profile", "chosen", "names", "description"),
        rows=tuple(
            (
                clean(one.id),
                "yes" if one.id == reply.active else NOTHING,
                ", ".join(
                    f"{clean(name)} -> {clean(target) if target else 'off'}"
                    for name, target in one.pins.items()
                ),
                clean(one.description) or NOTHING,
            )
            for one in reply.profiles
        ),
        spare=("description",),
    )


def changes_table(changes: ConfigChanges, *, drain: bool = False) -> Table:
    """Return the changes of a reload, and their effects.

    No rows when nothing is different.

    Args:
        changes: From the answer.
        drain: Models with another command are to end.
    """
    next_start = (
        "a running one ends after its requests; starts with this from then on"
        if drain
        else "a running one goes on as it is; the next start takes this"
    )
    rows = [(model, "added", "answers from now on") for model in changes.added]
    rows += [
        (model, "removed", "refuses requests; ends after those that run")
        for model in changes.removed
    ]
    rows += [(change.model, ", ".join(change.keys), next_start) for change in changes.relaunch]
    rows += [(change.model, ", ".join(change.keys), "at once") for change in changes.adjusted]
    if changes.settings:
        rows.append((NOTHING, ", ".join(changes.settings), "at once"))
    if changes.needs_restart:
        rows.append((NOTHING, ", ".join(changes.needs_restart), "when arriero is started anew"))
    return Table(
        ("model", "change", "what it means"),
        tuple((clean(model), clean(change), meaning) for model, change, meaning in rows),
    )


def reload_line(reply: ReloadReply) -> str:
    """Return the outcome of a reload."""
    if reply.applied:
        line = f"generation {reply.generation} is in force"
    elif reply.changes.is_empty:
        line = f"nothing to change: generation {reply.generation} stays in force"
    else:
        line = f"a dry run: nothing was changed, generation {reply.generation} stays in force"
    if reply.draining:
        line += f"; draining {', '.join(map(clean, reply.draining))}"
    return line


def models_table(models: Sequence[ModelStatus], now: float) -> Table:
    """Return the state of each model, in the order of the configuration.

    Args:
        models: From a snapshot.
        now: Unix time of the snapshot.
    """
    return Table(
        ("model", "state", "for", "in flight", "endpoint", "remarks"),
        tuple(
            (
                clean(model.model),
                model.state,
                duration(max(0.0, now - model.since)),
                str(model.in_flight),
                clean(model.endpoint or NOTHING),
                remarks(model) or NOTHING,
            )
            for model in models
        ),
        frozenset({"in flight"}),
        spare=("endpoint", "for", "in flight"),
        least=32,
    )


def remarks(model: ModelStatus) -> str:
    """Return the remarks on `model`; may be empty."""
    parts = []
    if model.progress is not None:
        parts.append(describe(model.progress))
    if model.removed:
        parts.append("removed from the configuration")
    elif model.stale:
        parts.append("runs with an older command")
    if model.error is not None:
        parts.append(clean(model.error.message))
    if model.retry_in_s > 0:
        parts.append(f"may be started again in {duration(model.retry_in_s)}")
    if model.pin:
        parts.append(f"pinned: {model.pin}")
    return "; ".join(parts)


def workers_table(workers: Sequence[WorkerStatus]) -> Table:
    """Return the worker processes, by number."""
    return Table(
        ("worker", "pid", "state", "in flight", "leases"),
        tuple(
            (
                str(worker.worker),
                str(worker.pid),
                worker.state,
                str(worker.in_flight),
                ", ".join(map(clean, worker.leases)) or NOTHING,
            )
            for worker in workers
        ),
        frozenset({"worker", "pid", "in flight"}),
    )


def aligned(table: Table) -> list[str]:
    """Return `table` as lines of plain text."""
    rows = [tuple(name.upper() for name in table.head), *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths, table)).rstrip() for row in rows]


def _padded(row: Sequence[str], widths: Sequence[int], table: Table) -> list[str]:
    return [
        cell.rjust(width) if name in table.right else cell.ljust(width)
        for name, cell, width in zip(table.head, row, widths, strict=True)
    ]


def explanation(reply: ExplainReply) -> list[str]:
    """Return the course of a request for the model."""
    if reply.action == "pass":
        first, count = reply.places[0], len(reply.places)
        return [
            f"{clean(reply.model)} is at {count} machine{'s' * (count != 1)}; "
            f"a request would be passed on to {clean(first.host)}",
            f"why:    {clean(reply.why)}",
            "",
            *aligned(places_table(reply.places)),
        ]
    lines = [
        f"{clean(reply.model)} is {reply.state}; a request would {_ACTIONS[reply.action]}",
        f"stops:  {', '.join(map(clean, reply.stops)) or 'nothing'}",
        f"ahead:  {', '.join(map(clean, reply.ahead)) or 'nobody'}",
        f"why:    {clean(reply.why)}",
    ]
    if reply.start_s is not None:
        lines.append(f"start:  about {duration(reply.start_s)}")
    if reply.devices:
        lines += ["", *aligned(devices_table(reply.devices))]
        lines += ["", *aligned(fits_table(reply.models))]
    if reply.places:
        lines += [f"here:   {clean(reply.why_there)}", "", *aligned(places_table(reply.places))]
    return lines


def places_table(places: Sequence[PlaceStanding]) -> Table:
    """Return how a model stands at each of the machines that have it."""
    return Table(
        ("machine", "model", "state", "running", "waiting", "wait", "remarks"),
        tuple(
            (
                clean(one.host) or "here",
                clean(one.target),
                clean(one.state) or NOTHING,
                str(one.running),
                str(one.waiting),
                duration(one.wait_s),
                NOTHING if one.usable else f"not asked: {clean(one.why) or 'it has failed'}",
            )
            for one in places
        ),
        frozenset({"running", "waiting", "wait"}),
        spare=("waiting", "running"),
    )


def devices_table(devices: Sequence[DeviceStatus]) -> Table:
    """Return the memory of each device."""
    return Table(
        ("device", "total", "reserve", "others", "models", "free", "remarks"),
        tuple(
            (
                clean(device.device),
                *(
                    memory_size(count)
                    for count in (
                        device.total,
                        device.reserve,
                        device.foreign,
                        device.reserved,
                        device.free,
                    )
                ),
                _device_remarks(device) or NOTHING,
            )
            for device in devices
        ),
        frozenset({"total", "reserve", "others", "models", "free"}),
        spare=("reserve", "others"),
    )


def peers_table(peers: Sequence[PeerStatus], now: float) -> Table:
    """Return how other machines stand.

    Args:
        peers: The machines.
        now: Unix time.
    """
    return Table(
        ("machine", "state", "circuit", "models", "list", "runs", "remarks"),
        tuple(
            (
                clean(it.peer),
                NOTHING if it.link == "unknown" else it.link,
                it.circuit,
                str(it.models),
                NOTHING if it.listed_at is None else duration(max(0.0, now - it.listed_at)),
                clean(", ".join(map(_running_there, it.running))) or NOTHING,
                clean("; ".join(_peer_remarks(it, now))) or NOTHING,
            )
            for it in peers
        ),
        frozenset({"models", "list"}),
        spare=("list", "runs", "models"),
    )


def machine_line(it: PeerStatus, now: float) -> str:
    """Return how another machine stands, on one line."""
    parts: list[str] = [] if it.link == "unknown" else [it.link]
    parts += [] if it.circuit == "closed" else [f"circuit {it.circuit}"]
    parts.append(f"{it.models} model{'s' * (it.models != 1)}")
    parts += [_running_there(one) for one in it.running[:_MAX_RUNNING]]
    return f"{clean(it.peer)}: {clean(', '.join([*parts, *_peer_remarks(it, now)]))}"


def _running_there(one: PeerModelStatus) -> str:
    facts: list[str] = [one.state] if one.state != "ready" else []
    facts += [percent(one.fraction)] if one.state == "starting" and one.fraction is not None else []
    facts += [f"{one.running} running"] if one.running else []
    facts += [f"{one.waiting} waiting"] if one.waiting else []
    return f"{one.model} ({', '.join(facts)})" if facts else one.model


def _peer_remarks(it: PeerStatus, now: float) -> list[str]:
    found = [it.why] if it.why else []
    if it.circuit == "open" and it.retry_at is not None:
        found.append(f"asked again in {duration(max(0.0, it.retry_at - now))}")
    if it.failing:
        found.append(f"fails: {', '.join(it.failing)}")
    if it.left_out:
        found.append(f"{it.left_out} names left out")
    return found


def store_lines(store: StoreStatus | None) -> list[str]:
    """Return what is wrong with the store of records; nothing if all is well."""
    if store is None or not (store.problem or store.lost):
        return []
    parts = [f"records of requests: {store.lost} are lost"] if store.lost else []
    if store.problem:
        parts.append(f"{'' if parts else 'records of requests: '}{clean(store.problem)}")
    return ["; ".join(parts)]


def keep_line(kept: KeepStatus) -> str:
    """Return how much is kept in main memory for later starts."""
    parts = [f"kept in RAM: {memory_size(kept.held)} of {memory_size(kept.limit)}"]
    if kept.room < kept.limit:
        parts.append(f"there is room for {memory_size(kept.room)}")
    if kept.locked:
        parts.append("locked")
    if kept.remark:
        parts.append(clean(kept.remark))
    return "; ".join(parts)


def kept_table(models: Sequence[KeptModel]) -> Table:
    """Return the models whose files are kept."""
    return Table(
        ("model", "files", "in RAM"),
        tuple((clean(one.model), memory_size(one.size), memory_size(one.held)) for one in models),
        frozenset({"files", "in RAM"}),
    )


def _device_remarks(device: DeviceStatus) -> str:
    parts = [clean(device.name)] if device.name else []
    if device.held:
        until = "" if device.held_s is None else f" for another {duration(device.held_s)}"
        parts.append(f"held{until}")
    return "; ".join(parts)


def fits_table(models: Sequence[ModelFit]) -> Table:
    """Return what becomes of each model."""
    return Table(
        ("model", "state", "memory", "from", "", "why"),
        tuple(
            (
                clean(model.model),
                model.state,
                memory_text(model.memory),
                model.source,
                model.verdict,
                clean(model.why),
            )
            for model in models
        ),
        spare=("from", "state"),
    )


def memory_text(amounts: Mapping[str, int]) -> str:
    """Return sizes on devices, such as ``gpu0 18.0 GiB, ram 2.0 GiB``."""
    sizes = (f"{clean(name)} {memory_size(amounts[name])}" for name in sorted(amounts))
    return ", ".join(sizes) or NOTHING


def memory_size(count: int) -> str:
    """Return bytes of memory in the units in which it is sold."""
    if count >= 1024**3:
        return f"{count / 1024**3:.1f} GiB"
    return f"{count / 1024**2:.0f} MiB"


def held_line(reply: HoldReply, for_s: float | None) -> str:
    """Return what is held."""
    until = "until `arriero release`" if for_s is None else f"for {duration(for_s)}"
    line = f"{', '.join(map(clean, reply.devices))} held {until}"
    if reply.unloaded:
        line += f"; unloaded {', '.join(map(clean, reply.unloaded))} in {duration(reply.took_s)}"
    return line


_ACTIONS: Final = {
    "pass": "be passed on",
    "serve": "be served at once",
    "join": "wait for the start that is under way",
    "start": "start it",
    "swap": "start it after others have made room",
    "wait": "wait for its turn",
}


def pong_line(pong: PingReply) -> str:
    """Return that the supervisor is there."""
    return f"arriero {clean(pong.version)}, pid {pong.pid}, up {duration(pong.uptime_s)}"


def unloaded_line(reply: UnloadReply) -> str:
    """Return which models were stopped."""
    if not reply.unloaded:
        return "nothing was running"
    return f"unloaded {', '.join(map(clean, reply.unloaded))} in {duration(reply.took_s)}"


def refusal_line(error: ErrorInfo) -> str:
    """Return the reason of a refusal, with similar names."""
    text = clean(error.message)
    if error.did_you_mean and "did you mean" not in text:
        text += f"; did you mean {', '.join(map(clean, error.did_you_mean))}?"
    if error.transient:
        text += " (it may work a little later)"
    return text


def swapped_line(reply: SwapReply) -> str:
    """Return the state of a model after a swap."""
    at = f" at {clean(reply.endpoint)}" if reply.endpoint else ""
    took = f", after {duration(reply.took_s)}" if reply.took_s else ""
    return f"{clean(reply.model)} is {reply.state}{at}{took}"
