"""How all of it stands, for those who watch it: kept from status and events. Pure.

A status is asked for once a second, since not all that it has is told by events; events are applied
as they come. What changes is remembered by *key* (a model, the queue, the devices, ...), not by
value, with a rising version. So whoever reads slowly is told once of what changed many times, and
what is remembered has a bound whatever happens. The number of the last event goes out with each
message; a reader that comes back names it, to any worker, and gets what has changed since, or all
of it. Only what happened once (an eviction, the end of a request) is kept as it was, the last ones.
"""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import (
    MAX_DECISIONS,
    AnyEvent,
    Decision,
    InflightChanged,
    ProgressMade,
    QueueChanged,
    RequestEnded,
    StateChanged,
    decision_in,
    status_after,
)
from arriero.protocol.records import InflightRequest, NumberedRecord
from arriero.protocol.sequence import Sequence, Verdict
from arriero.protocol.values import ModelStatus, Snapshot

# Ends of requests: how many are kept, and told in one message.
MAX_KEPT: Final = 200

# Keys of what is gone; beyond that the oldest are forgotten, and who lags behind them gets all.
_MAX_GONE: Final = 1000

# Seconds by which a moment may differ from one status to the next: it is the same moment, and was
# counted back from another now.
_JITTER_S: Final = 0.5

LinkState: TypeAlias = Literal["up", "away"]


class LiveHost(msgspec.Struct, frozen=True, kw_only=True):
    """The program.

    Attributes:
        link: Whether the supervisor answers.
        started_at: Unix time.
        listen, instance: See `StatusReply`.
    """

    version: str
    listen: str
    started_at: float
    link: LinkState = "up"
    instance: str = ""


LiveMessage: TypeAlias = dict[str, object]
"""What a reader is told at once; what is left out is as before.

``all`` is true if this is everything: what is not in it is not there. ``t`` is the Unix time.
``models`` and ``gone`` are those models that have changed, and ids of those that are not there any
more; ``running`` and ``ended`` the same of requests that run. ``records`` are of requests that have
ended since; with ``records_lost`` there were more of them. ``decisions`` have happened since, the
oldest first. ``queue``, ``workers``, ``devices``, ``kept``, ``store``, ``config``, ``peers`` are
those of `StatusReply`; ``host`` is a `LiveHost`, and ``catalog`` what the configuration says of
models."""


# Members that come with another one, and those that always come.
_PART: Final = {"gone": "models", "ended": "running", "records_lost": "records"}
_ALWAYS: Final = frozenset({"t", "all"})


class LivePosition(NamedTuple):
    """How far a reader has read.

    Attributes:
        epoch: Of the supervisor.
        seq: Number of the last event.
        usage: Number of the last record.
    """

    epoch: str
    seq: int
    usage: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.usage}"


def read_position(text: str) -> LivePosition | None:
    """Return the position that `text` says; None if it says none."""
    epoch, _, rest = text.partition(".")
    seq, _, usage = rest.partition(".")
    if not all(0 < len(it) < 20 and it.isascii() and it.isalnum() for it in (epoch, seq, usage)):
        return None
    if not (seq.isdigit() and usage.isdigit()):
        return None
    return LivePosition(epoch, int(seq), int(usage))


class _LastChange(NamedTuple):
    version: int
    seq: int


_Key: TypeAlias = tuple[str, str]


class LiveState:
    """The latest of everything.

    Attributes:
        version: Rises with each change.
        is_known: There was a status since it was forgotten.
    """

    def __init__(self) -> None:
        self.version = 0
        self.is_known = False
        self._base = 0  # version before which is not known what has changed
        self._base_seq = 0
        self._sequence = Sequence()
        self._seq = 0
        self._usage = 0
        self._changes: dict[_Key, _LastChange] = {}  # the latest last
        self._gone = 0
        self._models: dict[str, ModelStatus] = {}
        self._running: dict[str, dict[str, InflightRequest]] = {}
        self._whole: dict[str, object] = {}
        self._records: deque[NumberedRecord] = deque(maxlen=MAX_KEPT)
        self._decisions: deque[tuple[int, Decision]] = deque(
            maxlen=MAX_DECISIONS
        )  # and the version
        self._noted = 0  # number of the last event that was looked at for these

    @property
    def position(self) -> LivePosition:
        """What has been taken in."""
        return LivePosition(self._sequence.epoch, self._seq, self._usage)

    def forget(self) -> None:
        """Note that nobody watches: what happens from here on is missed."""
        self.is_known = False
        self._running.clear()

    # --- what comes in --------------------------------------------------------------------------

    def begin(self, status: StatusReply, usage: int, decisions: tuple[Decision, ...] = ()) -> None:
        """Start from a status.

        Args:
            status: Of the supervisor.
            usage: Number of the last record.
            decisions: The last ones, by then or later.
        """
        self._sequence.restart(_snapshot(status))
        self._seq = self._base_seq = status.seq
        self._noted = max([status.seq, *(it.seq for it in decisions[-1:])])
        self._usage = usage
        self._records.clear()
        self._decisions.clear()
        self._changes.clear()
        self._models.clear()
        self._running.clear()
        self._gone = 0
        self._base = self._rise()
        self._decisions.extend((self.version, it) for it in decisions)
        self.is_known = True
        self._take(status)

    def update(self, status: StatusReply) -> bool:
        """Take over a later status.

        Returns:
            False if it is older than what is known, or of another supervisor: nothing was taken.
        """
        snapshot = _snapshot(status)
        if snapshot.epoch != self._sequence.epoch or self._sequence.is_ahead_of(snapshot):
            return False
        self._sequence.restart(snapshot)
        self._seq = status.seq
        self._take(status)
        return True

    def take(self, event: AnyEvent) -> bool:
        """Take over an event.

        Returns:
            False if one before it was missed: a status is due.
        """
        if isinstance(event, InflightChanged):
            self._replace_running(event.worker, event.requests)
            return True
        if event.epoch != self._sequence.epoch:
            return False
        if isinstance(event, RequestEnded):
            if event.seq > self._usage:
                self._usage = event.seq
                self._records.append(NumberedRecord(id=event.seq, record=event.record))
                self._rise()
            return True
        if event.numbered_as == "events" and event.seq > self._noted:
            self._noted = event.seq  # a status may have been quicker: it has no decisions
            self._note(event)
        match self._sequence.judge(event):
            case Verdict.GAP:
                return False
            case Verdict.FOLLOWS if event.numbered_as == "events":
                self._seq = event.seq
                self._apply(event)
            case _:
                pass
        return True

    def say(self, part: str, value: object) -> None:
        """Note the value of a part that is told as a whole."""
        if self._whole.get(part, UNSET) != value:
            self._whole[part] = value
            self._changed((part, ""))

    def leave(self) -> None:
        """Note that the supervisor does not answer."""
        host = self._whole.get("host")
        if isinstance(host, LiveHost):
            self.say("host", replace(host, link="away"))

    def _take(self, status: StatusReply) -> None:
        for part, value in (
            ("queue", status.queue),
            ("workers", status.workers),
            ("devices", status.devices),
            ("kept", status.kept),
            ("store", status.store),
            ("config", status.config),
            ("peers", status.peers),
        ):
            self.say(part, value)
        host = self._whole.get("host")
        started = round(status.t - status.uptime_s, 3)
        if isinstance(host, LiveHost) and abs(host.started_at - started) < _JITTER_S:
            started = host.started_at
        self.say(
            "host",
            LiveHost(
                version=status.version,
                listen=status.listen,
                started_at=started,
                instance=status.instance,
            ),
        )
        for model in status.models:
            self._put(_settled(model, self._models.get(model.model)))
        for name in self._models.keys() - {model.model for model in status.models}:
            del self._models[name]
            self._changed(("model", name), is_gone=True)

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case StateChanged():
                new = ModelStatus(model=event.model, state=event.state, since=event.t)
                self._put(status_after(event, self._models.get(event.model, new)))
            case ProgressMade():
                if (known := self._models.get(event.model)) is not None:
                    self._put(status_after(event, known))
            case QueueChanged():
                self.say("queue", event.queue)
            case _:
                pass

    def _put(self, model: ModelStatus) -> None:
        if self._models.get(model.model) != model:
            self._models[model.model] = model
            self._changed(("model", model.model))

    def _note(self, event: AnyEvent) -> None:
        if (decision := decision_in(event)) is not None:
            self._decisions.append((self._rise(), decision))

    def _replace_running(self, worker: str, requests: Iterable[InflightRequest]) -> None:
        old = self._running.pop(worker, {})
        new = {one.id: one for one in requests}
        if new:
            self._running[worker] = new
        for key in old.keys() - new.keys():
            self._changed(("running", key), is_gone=True)
        for key, one in new.items():
            if old.get(key) != one:
                self._changed(("running", key))

    def _rise(self) -> int:
        self.version += 1
        return self.version

    def _changed(self, key: _Key, *, is_gone: bool = False) -> None:
        self._rise()
        self._changes.pop(key, None)
        self._changes[key] = _LastChange(self.version, self._seq)
        if is_gone:
            self._gone += 1
            if self._gone > _MAX_GONE:
                self._prune()

    def _prune(self) -> None:
        """Forget which keys are gone: who has not been told of them by now gets all."""
        for key in [key for key in self._changes if not self._is_there(key)]:
            self._base = max(self._base, self._changes[key].version)
            self._base_seq = max(self._base_seq, self._changes[key].seq + 1)
            del self._changes[key]
        self._gone = 0

    def _is_there(self, key: _Key) -> bool:
        kind, name = key
        if kind == "model":
            return name in self._models
        return kind != "running" or self._find_running(name) is not None

    def _find_running(self, name: str) -> InflightRequest | None:
        return next((held[name] for held in self._running.values() if name in held), None)

    # --- what goes out --------------------------------------------------------------------------

    def version_at(self, position: LivePosition | None) -> int | None:
        """Return the version up to which a reader knows all that stood still since; None for none.

        Args:
            position: Where it was.
        """
        if (
            position is None
            or not self.is_known
            or position.epoch != self._sequence.epoch
            or not self._base_seq < position.seq <= self._seq
        ):
            return None
        # What has changed without an event since then has the number of that event.
        newer = [it.version for it in self._changes.values() if it.seq >= position.seq]
        newer += [version for version, it in self._decisions if it.seq >= position.seq]
        return min(newer, default=self.version + 1) - 1

    def everything(self, now: float) -> LiveMessage:
        """Return all that is known; not records, of which there is a list elsewhere."""
        return {
            "t": now,
            "all": True,
            **self._whole,
            "models": [*self._models.values()],
            "running": [one for held in self._running.values() for one in held.values()],
            "decisions": [one for _, one in self._decisions],
        }

    def since(self, version: int, usage: int, now: float) -> LiveMessage | None:
        """Return what has changed since a version; None if that is not known any more.

        Args:
            version: Which the reader has.
            usage: Number of the last record that it has.
            now: Unix time.
        """
        if version < self._base:
            return None
        keys: list[_Key] = []
        for key, change in reversed(self._changes.items()):
            if change.version <= version:
                break
            keys.append(key)
        models = {name: self._models.get(name) for kind, name in keys if kind == "model"}
        running = {name: self._find_running(name) for kind, name in keys if kind == "running"}
        records = [one for one in self._records if one.id > usage]
        lists: LiveMessage = {
            "models": [one for one in models.values() if one is not None],
            "gone": [name for name, one in models.items() if one is None],
            "running": [one for one in running.values() if one is not None],
            "ended": [name for name, one in running.items() if one is None],
            "records": records,
            "decisions": [one for noted_at, one in self._decisions if noted_at > version],
        }
        message: LiveMessage = {"t": now} | {name: it for name, it in lists.items() if it}
        message |= {kind: self._whole[kind] for kind, _ in keys if kind in self._whole}
        if self._usage - usage > len(records):
            message["records_lost"] = True
        return message


class LiveReader:
    """What one reader gets next.

    Args:
        state: What it is told of.
        after: Where it was, if it comes back.
        parts: Members of messages that it wants; none: all.
    """

    def __init__(
        self,
        state: LiveState,
        after: LivePosition | None = None,
        parts: Collection[str] = (),
    ) -> None:
        self._state = state
        self._parts = frozenset(parts)
        self._position = after
        self._version: int | None = None
        self._is_new = True

    def take(self, now: float) -> bytes:
        """Return the message that is due, as one of Server-Sent Events; empty if none is.

        Args:
            now: Unix time.
        """
        state = self._state
        if not state.is_known:
            return b""
        if self._is_new:
            self._is_new = False
            self._version = state.version_at(self._position)
        if self._version is not None and self._version >= state.version:
            return b""
        message = None
        if self._version is not None and self._position is not None:
            message = state.since(self._version, self._position.usage, now)
        if message is None:
            message = state.everything(now)
        self._version, self._position = state.version, state.position
        if self._parts:
            wanted = self._parts | _ALWAYS
            message = {name: it for name, it in message.items() if _PART.get(name, name) in wanted}
            if not message.keys() - _ALWAYS and "all" not in message:
                return b""
        return b"id:%b\ndata:%b\n\n" % (str(state.position).encode(), msgspec.json.encode(message))


def _snapshot(status: StatusReply) -> Snapshot:
    return Snapshot(epoch=status.epoch, seq=status.seq, t=status.t, models=(), queue=())


def _settled(new: ModelStatus, old: ModelStatus | None) -> ModelStatus:
    """Return a status whose moments are those that were told, if they are the same."""
    if old is None:
        return new
    return replace(
        new,
        since=_same(new.since, old.since),
        idle_since=_same_or_none(new.idle_since, old.idle_since),
        unloads_at=_same_or_none(new.unloads_at, old.unloads_at),
        retry_in_s=float(round(new.retry_in_s)),
    )


def _same(new: float, old: float) -> float:
    return old if abs(new - old) < _JITTER_S else new


def _same_or_none(new: float | None, old: float | None) -> float | None:
    return new if new is None or old is None else _same(new, old)
