"""Commands of the control socket."""

import itertools
import os
import time
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Final, assert_never

import trio
from msgspec.structs import replace

from arriero.protocol.codec import AnyReply
from arriero.protocol.control.base import Done, Refusal, refused
from arriero.protocol.control.measures import (
    HardwareReply,
    HardwareRequest,
    MetricsRequest,
    PerformanceReply,
    PerformanceRequest,
)
from arriero.protocol.control.messages import AnyRequest
from arriero.protocol.control.models import (
    ExplainReply,
    ExplainRequest,
    HoldReply,
    HoldRequest,
    LogsReply,
    LogsRequest,
    PinRequest,
    PlaceStanding,
    ProfileRequest,
    ProfilesRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
    UnloadReply,
    UnloadRequest,
)
from arriero.protocol.control.requests import (
    ActivityRequest,
    CancelReply,
    CancelRequest,
    CaptureRequest,
    CapturesRequest,
    HistoryRequest,
    PreviewReply,
    PreviewRequest,
    RowsRequest,
    SpeedsRequest,
    UsageRequest,
)
from arriero.protocol.control.running import (
    MAX_WORKERS,
    DecisionsReply,
    DecisionsRequest,
    PingReply,
    PingRequest,
    RestartRequest,
    ScaleRequest,
    ShutdownRequest,
    StatusReply,
    StatusRequest,
    WorkersReply,
    WorkersRequest,
)
from arriero.protocol.control.settings import ConfigRequest, ReloadRequest
from arriero.protocol.events import Decision
from arriero.protocol.lease import CancelResult, PreviewOutcome
from arriero.protocol.values import ErrorInfo, PeerStatus

from ..host.log import ProgramLog
from ..host.own_version import own_version
from ..machine.monitor import Monitor
from ..metrics.service import MetricsService
from ..models.start.output_log import OutputLog
from ..page_cache.warm_tier import WarmTier
from ..reload.inspector import ConfigInspector
from ..reload.profiles import ProfileSwitch
from ..reload.reloader import ActiveConfig, Reloader
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import (
    GrantLease,
    HoldRequested,
    Left,
    PinRequested,
    ReleaseRequested,
    UnloadRequested,
    Waiter,
    Wanted,
)
from ..store.archive import RecordArchive
from ..text.did_you_mean import there_are
from ..workers.pool import WorkerPool

# Longest time for which a device is held: who wants it for longer says so again.
MAX_HOLD_S: Final = 30 * 86400

# Of a body of which a worker says what would become of it, in one go.
_MAX_PREVIEW_CHARS: Final = 128 * 1024


class Commands:
    """Answers requests."""

    def __init__(
        self,
        in_force: ActiveConfig,
        dispatcher: Dispatcher,
        workers: WorkerPool,
        output_log: OutputLog,
        program_log: ProgramLog,
        archive: RecordArchive,
        reloader: Reloader,
        inspector: ConfigInspector,
        profiles: ProfileSwitch,
        warm: WarmTier,
        metrics: MetricsService,
        monitor: Monitor,
        *,
        peers: Callable[[], tuple[PeerStatus, ...]],
        cancel: Callable[[str], Awaitable[CancelResult]],
        preview: Callable[
            [str, tuple[tuple[str, str], ...], str], Awaitable[PreviewOutcome | None]
        ],
        decisions: Callable[[], tuple[Decision, ...]],
        listen: str,
        url: str,
        instance: str,
        control_requests: Callable[[], int],
        shut_down: Callable[[], None],
        restart: Callable[[], Awaitable[AnyReply]],
        scale: Callable[[int], None],
        places: Callable[[str], tuple[tuple[PlaceStanding, ...], str]],
    ) -> None:
        self._in_force = in_force
        self._instance = instance
        self._dispatcher = dispatcher
        self._workers = workers
        self._output_log = output_log
        self._program_log = program_log
        self._archive = archive
        self._cancel_request = cancel
        self._preview = preview
        self._decisions = decisions
        self._reloader = reloader
        self._inspector = inspector
        self._profiles = profiles
        self._warm = warm
        self._metrics = metrics
        self._monitor = monitor
        self._peers = peers
        self._listen = listen
        self._url = url
        self._control_requests = control_requests
        self._shut_down = shut_down
        self._restart = restart
        self._scale_workers = scale
        self._places = places
        self._numbers = itertools.count(1)
        self._started_at = trio.current_time()

    def answer(self, request: AnyRequest) -> AnyReply | Awaitable[AnyReply | bytes]:
        """Carry out `request`. Gives a `Refusal` where that is impossible.

        Returns:
            The reply; or, where something has to be waited for, what gives it, perhaps encoded.
        """
        match request:
            case PingRequest():
                return self._pong()
            case StatusRequest():
                return self._status()
            case SwapRequest(model=name, wait=wait):
                return self._swap(name, wait=wait)
            case UnloadRequest(model=name, mode=mode):
                return self._unload(name, at_once=mode == "now")
            case HoldRequest(device=device, for_s=for_s, wait=wait):
                return self._hold(device, for_s, wait=wait)
            case ReleaseRequest(device=device):
                return self._release(device)
            case PinRequest(model=name, pinned=pinned):
                return self._pin(name, pinned=pinned)
            case LogsRequest():
                return self._logs(request)
            case ExplainRequest(model=name):
                return self._explain(name)
            case PreviewRequest():
                return self._say_preview(request)
            case ReloadRequest(dry_run=dry_run, drain=drain):
                return self._reloader.reload(dry_run=dry_run, drain=drain)
            case DecisionsRequest():
                return DecisionsReply(decisions=self._decisions())
            case ConfigRequest():
                return self._inspector.look()
            case CancelRequest(request_id=request_id):
                return self._cancel(request_id)
            case ActivityRequest():
                return self._archive.ask(request, self._dispatcher.usage_seq)
            case (
                RowsRequest()
                | SpeedsRequest()
                | HistoryRequest()
                | UsageRequest()
                | CapturesRequest()
                | CaptureRequest()
            ):
                return self._archive.ask(request)
            case WorkersRequest():
                return WorkersReply(workers=self._workers.status())
            case ScaleRequest(workers=count):
                return self._scale(count)
            case ProfilesRequest():
                return self._profiles.status()
            case ProfileRequest(profile=profile):
                return self._choose_profile(profile)
            case MetricsRequest(open_metrics=open_metrics, gzip=gzip):
                return self._metrics.answer(open_metrics=open_metrics, compressed=gzip)
            case PerformanceRequest(after=after):
                system, gpus = self._monitor.since(after)
                return PerformanceReply(
                    enabled=self._monitor.is_on, sys_stats=system, gpu_stats=gpus
                )
            case HardwareRequest():
                return self._look_at_hardware()
            case ShutdownRequest():
                self._shut_down()
                return Done()
            case RestartRequest():
                return self._restart()
            case _:
                assert_never(request)

    async def _look_at_hardware(self) -> AnyReply:
        return HardwareReply(hardware=await self._monitor.hardware())

    def _pong(self) -> PingReply:
        return PingReply(
            version=own_version(),
            epoch=self._dispatcher.epoch,
            pid=os.getpid(),
            uptime_s=trio.current_time() - self._started_at,
        )

    def _status(self) -> StatusReply:
        snapshot = self._dispatcher.snapshot()
        return StatusReply(
            version=own_version(),
            epoch=snapshot.epoch,
            seq=snapshot.seq,
            t=time.time(),
            uptime_s=trio.current_time() - self._started_at,
            listen=self._listen,
            url=self._url,
            models=snapshot.models,
            queue=snapshot.queue,
            workers=self._workers.status(),
            control_requests=self._control_requests(),
            lease_requests=self._dispatcher.lease_requests,
            config=self._in_force.status(),
            devices=self._dispatcher.engine.devices(self._dispatcher.now()),
            kept=self._warm.status(),
            store=self._archive.status(),
            peers=self._peers(),
            instance=self._instance,
        )

    async def _swap(self, name: str, *, wait: bool) -> AnyReply:
        found = self._in_force.config.resolve(name)
        if found is None:
            return self._unknown(name)
        model = found.model
        waiter = Waiter("control", next(self._numbers), takes_lease=False)
        asked_at = trio.current_time()
        if not wait:
            self._dispatcher.handle(Wanted(waiter, model))
            return SwapReply(model=model, state=self._dispatcher.engine.state(model))
        answers: list[GrantLease | ErrorInfo] = []
        answered = trio.Event()

        def take(answer: GrantLease | ErrorInfo) -> None:
            answers.append(answer)
            answered.set()

        self._dispatcher.answer_script(waiter, take)
        try:
            self._dispatcher.handle(Wanted(waiter, model))
            await answered.wait()  # bounded: each phase of a start has its own limit
        finally:
            if not answers:
                self._dispatcher.forget_script(waiter)
                self._dispatcher.handle(Left(waiter))
        if isinstance(answers[0], ErrorInfo):
            return Refusal(error=answers[0])
        took_s = trio.current_time() - asked_at
        return SwapReply(
            model=model, state="ready", endpoint=answers[0].endpoint, took_s=round(took_s, 3)
        )

    async def _unload(self, name: str | None, *, at_once: bool) -> AnyReply:
        asked_at = trio.current_time()
        engine = self._dispatcher.engine
        running = set(engine.running())
        # Those that wait for others to make room have no process yet, and shall not get one.
        waited_for = {entry.model for entry in engine.queue()}
        chosen = running | engine.coming_back() | waited_for
        if name is not None:
            found = self._id_of(name)
            if found is None:
                return self._unknown(name)
            running &= {found}
            chosen &= {found}
        swaps = {model: engine.swap(model) for model in running}
        for model in chosen:
            self._dispatcher.handle(UnloadRequested(model, at_once=at_once))
        await self._dispatcher.wait_until(
            lambda engine: all(engine.has_ended(model, swap) for model, swap in swaps.items())
        )
        took_s = round(trio.current_time() - asked_at, 3)
        return UnloadReply(unloaded=tuple(sorted(running)), took_s=took_s)

    def _logs(self, asked: LogsRequest) -> AnyReply:
        name, lines = asked.model, asked.lines
        if not 1 <= lines <= OutputLog.MAX_LINES:
            most = OutputLog.MAX_LINES
            return _bad_request(f"cannot give {lines} lines: ask for 1 to {most}")
        if asked.own:
            self._program_log.tell_now()  # then all that is kept has its number
            newest = self._program_log.last(lines, asked.bytes or OutputLog.MAX_BYTES)
            return LogsReply(lines=newest, seq=self._dispatcher.own_seq)
        found = None
        if name is not None and (found := self._id_of(name)) is None:
            return self._unknown(name)
        found_lines = self._output_log.last(lines, model=found, most_bytes=asked.bytes)
        return LogsReply(lines=found_lines, seq=self._dispatcher.log_seq)

    async def _hold(self, device: str | None, for_s: float | None, *, wait: bool) -> AnyReply:
        if for_s is not None and not 0 < for_s <= MAX_HOLD_S:
            most = MAX_HOLD_S // 86400
            return _bad_request(f"cannot hold for {for_s:g} s: more than 0, and {most} d at most")
        names = self._devices(device)
        if names is None:
            return self._no_device(device)
        asked_at = trio.current_time()
        engine = self._dispatcher.engine
        running = engine.on_device(device)
        swaps = {model: engine.swap(model) for model in running}
        self._dispatcher.handle(HoldRequested(device, for_s))
        if wait:
            await self._dispatcher.wait_until(
                lambda engine: all(engine.has_ended(model, swap) for model, swap in swaps.items())
            )
        took_s = round(trio.current_time() - asked_at, 3)
        return HoldReply(devices=names, unloaded=tuple(sorted(running)), took_s=took_s)

    def _release(self, device: str | None) -> AnyReply:
        names = self._devices(device)
        if names is None:
            return self._no_device(device)
        self._dispatcher.handle(ReleaseRequested(device))
        return HoldReply(devices=names)

    def _pin(self, name: str, *, pinned: bool) -> AnyReply:
        model = self._id_of(name)
        if model is None:
            return self._unknown(name)
        if not self._dispatcher.engine.counts_memory:
            message = (
                f"cannot {'pin' if pinned else 'unpin'} {model}: it would change nothing, since "
                "memory does not decide here (memory: auto, or devices); "
                "ttl: 0 keeps it when it is idle"
            )
            return refused("memory_not_counted", message)
        self._dispatcher.handle(PinRequested(model, pinned))
        return Done()

    def _devices(self, device: str | None) -> tuple[str, ...] | None:
        """Return the devices that are meant; None if there is no such device."""
        known = [one.device for one in self._dispatcher.engine.devices(self._dispatcher.now())]
        if device is None:
            return tuple(known) or ("all",)
        return (device,) if device in known else None

    def _no_device(self, device: str | None) -> Refusal:
        known = [one.device for one in self._dispatcher.engine.devices(self._dispatcher.now())]
        would_do = (
            f"there are {', '.join(known)}"
            if known
            else "with memory: auto in the configuration single devices can be held, without it "
            "all of them: leave the device out"
        )
        return refused("unknown_device", f"there is no device {str(device)[:80]!r}; {would_do}")

    def _explain(self, name: str) -> AnyReply | Awaitable[AnyReply]:
        found = self._in_force.config.resolve(name)
        if found is None:
            places, why = self._places(name)
            if not places:
                return self._unknown(name)
            return ExplainReply(
                model=name,
                state=places[0].state,
                action="pass",
                stops=(),
                ahead=(),
                why=why,
                places=places,
                why_there=why,
            )
        if self._dispatcher.engine.is_unsized(found.model):
            return self._size_and_explain(found.model)
        return self._explain_here(found.model)

    async def _size_and_explain(self, model: str) -> AnyReply:
        await self._dispatcher.size_up(model)
        if not self._dispatcher.engine.knows(model):
            return self._unknown(model)  # a reload was quicker
        return self._explain_here(model)

    def _explain_here(self, model: str) -> ExplainReply:
        """Return the course of a request here, and whether it would come here at all."""
        reply = self._dispatcher.engine.explain(model, self._dispatcher.now())
        places, why = self._places(model)
        if len(places) < 2:
            return reply
        if places[0].host:
            reply = replace(reply, action="pass", stops=(), ahead=(), why=why)
        return replace(reply, places=places, why_there=why)

    async def _say_preview(self, asked: PreviewRequest) -> AnyReply:
        if len(asked.body) > _MAX_PREVIEW_CHARS:
            return _bad_request(f"cannot look at a body of more than {_MAX_PREVIEW_CHARS} bytes")
        if any("\r" in text or "\n" in text for text in (asked.path, *chain(*asked.headers))):
            return _bad_request("cannot read the path or a header: there is a line end in it")
        found = await self._preview(asked.path, asked.headers, asked.body)
        if found is None:
            return _bad_request("no worker has answered; ask again in a moment")
        if found.problem:
            return _bad_request(found.problem)
        return PreviewReply(
            model=found.model, path=found.path, body=found.body, changed=found.is_changed
        )

    async def _cancel(self, request_id: str) -> AnyReply:
        result = await self._cancel_request(request_id)
        if result in {"cancelled", "finished"}:
            return CancelReply(request_id=request_id, result=result)
        message = f"no request {request_id[:80]!r} is running, and none is remembered"
        return refused("unknown_request", message)

    async def _choose_profile(self, profile: str | None) -> AnyReply:
        error = await self._profiles.choose(profile)
        return self._profiles.status() if error is None else Refusal(error=error)

    def _scale(self, count: int) -> AnyReply:
        if not 1 <= count <= MAX_WORKERS:
            return _bad_request(f"cannot run {count} workers: ask for 1 to {MAX_WORKERS}")
        self._scale_workers(count)
        return Done()

    def _id_of(self, name: str) -> str | None:
        """Return the id of the model called `name`.

        Removed models that still run count.
        """
        found = self._in_force.config.resolve(name)
        if found is not None:
            return found.model
        return name if self._dispatcher.engine.knows(name) else None

    def _unknown(self, name: str) -> Refusal:
        if self._in_force.config.resolve_remote(name) is not None:
            message = (
                f"the model {name[:80]!r} is not started here: it has a proxy and no cmd, and is "
                "simply there"
            )
            return refused("remote_model", message)
        similar = self._in_force.config.suggest(name)
        there = there_are(self._in_force.config.models)
        hint = f"; did you mean {', '.join(similar)}?" if similar else there
        return Refusal(
            error=ErrorInfo(
                code="unknown_model",
                message=f"there is no model {name[:80]!r}{hint}",
                did_you_mean=similar,
            )
        )


def _bad_request(message: str) -> Refusal:
    return refused("bad_request", message)
