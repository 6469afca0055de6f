"""`RelayContext`: everything that requests share in one worker."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from arriero.protocol.control.base import ControlReply, ControlRequest
from arriero.protocol.control.models import UnloadReply, UnloadRequest
from arriero.protocol.lease import (
    CancelAnswer,
    CancelQuery,
    CancelResult,
    FromWorker,
    ProfileAnswer,
    ProfileOrder,
    Release,
    There,
    ThereQuery,
)
from arriero.protocol.records import RawCapture
from arriero.protocol.values import State
from arriero.protocol.worker_config import WorkerConfig

from ..accounting.account import Account
from ..apis.management.declared import OPEN_PAIRS, VISITED
from ..apis.management.page_routes import OPEN_BELOW
from ..apis.model_names import ModelNames
from ..connections.batched_wakeups import BatchedWakeups
from ..connections.connection import ConnectionMonitor
from ..errors import Unavailable, UnknownProfile
from ..feeds.hub import FeedHub, LogPages, NoLogPages
from ..http.admission import Admission, Listening
from ..http.auth import ANYBODY, Caller
from ..http.body_memory import BodyMemory
from ..http.header_rules import CompiledRules, compile_rules
from ..http.random_ids import RandomPool
from ..leases import key_limits
from ..leases.engagements import Engagements
from ..leases.leases import Lease, Leases
from ..leases.queries import PendingQueries
from ..leases.running_requests import RunningRequests
from ..progress.model_view import ProgressView
from ..upstreams.awaited_peers import AwaitedPeers
from ..upstreams.pool import Upstreams
from .progress_broadcast import ProgressBroadcast

_ReplyT = TypeVar("_ReplyT", bound=ControlReply)

# Sets of patterns whose names are remembered: each holds what it may use of all names.
_MAX_VIEWS: Final = 256


def _nothing() -> None: ...


# Seconds for models to finish what they have and to end, which has limits of its own: `drainLimit`
# and `unloadTimeout`. This one is above them.
_UNLOAD_S: Final = 2 * 86400.0


# Seconds for the states of models of peers: a list without them is worth more than one that comes
# late. An answer takes milliseconds.
_THERE_S: Final = 0.5


class AsksSupervisor(Protocol):
    """Asks the supervisor as scripts do."""

    async def __call__(
        self, request: ControlRequest, kind: type[_ReplyT], *, within_s: float
    ) -> _ReplyT:
        """Return the answer, of that kind.

        Raises:
            RelayError: It was refused, or nobody answers within that time.
        """


async def _nobody_to_ask(
    request: ControlRequest, kind: type[_ReplyT], *, within_s: float
) -> _ReplyT:
    raise Unavailable("cannot ask now: the supervisor does not answer", code="supervisor_lost")


@dataclass(slots=True, kw_only=True)
class RelayContext:
    """Everything that answering a model request takes.

    Attributes:
        monitor: Deadlines and disconnects of the clients' connections.
        listening: Where these come from.
        names: The models of the configuration in force.
        admission: Which requests are let in, by that configuration.
        request_rules, response_rules: Changes that it makes in heads; None for none.
        say: Sends a message to the supervisor; set by the link to it.
        ended: Takes the account of a request that is over, and when that was; set likewise.
        captured: Takes what was captured of one, after that; set likewise.
        queries: Questions that the supervisor answers later.
        leases: The right to send requests without asking.
        engagements: What else the supervisor has decided for requests that run.
        running: The requests that run, by their ids.
        random: Random bytes for new ids.
        view: The state of all models.
        upstreams: Connections to them.
        bodies: Memory that the bodies of requests take.
        waking: Wakes the tasks of requests that have waited.
        broadcast: Sends progress updates to waiting clients.
        awaited: Requests that wait for other machines, and may go to the next one.
        ask: Asks the supervisor; set by whoever can.
        feeds: Those who follow logs and events.
        read_logs: Reads logs and events for pages; set likewise.
        finishing: No further request is taken on any connection.
        instance: Stands for this program where requests go from machine to machine.
    """

    monitor: ConnectionMonitor
    listening: Listening = field(default_factory=Listening)
    names: ModelNames = field(
        default_factory=lambda: ModelNames(WorkerConfig(generation=0, models=()))
    )
    admission: Admission = field(init=False)
    request_rules: CompiledRules | None = None
    response_rules: CompiledRules | None = None
    say: Callable[[FromWorker], None] = field(default=lambda _: None)
    ended: Callable[[Account, float], None] = field(default=lambda account, now: None)
    captured: Callable[[RawCapture], None] = field(default=lambda _: None)
    queries: PendingQueries = field(default_factory=PendingQueries)
    leases: Leases = field(default_factory=Leases)
    engagements: Engagements = field(default_factory=Engagements)
    running: RunningRequests = field(default_factory=RunningRequests)
    random: RandomPool = field(default_factory=RandomPool)
    view: ProgressView = field(default_factory=ProgressView)
    upstreams: Upstreams = field(default_factory=Upstreams)
    bodies: BodyMemory = field(default_factory=BodyMemory)
    waking: BatchedWakeups = field(default_factory=BatchedWakeups)
    broadcast: ProgressBroadcast = field(init=False)
    awaited: AwaitedPeers = field(default_factory=AwaitedPeers)
    ask: AsksSupervisor = field(default=_nobody_to_ask)
    feeds: FeedHub = field(default_factory=FeedHub)
    read_logs: LogPages = field(default_factory=NoLogPages)
    finishing: bool = False
    instance: str = ""
    _names_for: dict[tuple[str, ...], ModelNames] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.broadcast = ProgressBroadcast(self.view)
        self.view.on_change = self.feeds.states_changed
        self.admission = self._admission(self.names.config)

    def configure(self, config: WorkerConfig) -> None:
        """Follow `config` from the next request on."""
        self.names = ModelNames(config)
        self._names_for = {}
        self.bodies.limit_bytes = config.body_memory_bytes
        self.admission = self._admission(config)
        self.request_rules = compile_rules(config.request_headers)
        self.response_rules = compile_rules(config.response_headers)
        self.feeds.states_changed()

    def _admission(self, config: WorkerConfig) -> Admission:
        return Admission(config, self.listening, OPEN_PAIRS, VISITED, OPEN_BELOW)

    def caller_of(self, fields: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return who asks, by the fields that may hold a key.

        Without keys in the configuration all clients are one caller.

        Raises:
            Unauthorized: There are some, and none is shown.
        """
        keys = self.admission.keys
        return keys.caller(fields) if keys else ANYBODY

    def names_for(self, caller: Caller) -> ModelNames:
        """Return the names that a caller may use: for him there are no others."""
        patterns = caller.models
        if patterns is None:
            return self.names
        found = self._names_for.get(patterns)
        if found is None:
            if len(self._names_for) >= _MAX_VIEWS:
                self._names_for.clear()
            found = self._names_for[patterns] = self.names.restricted(patterns)
        return found

    async def enter(self, caller: Caller) -> Callable[[], None]:
        """Count a request of `caller`, if his key has limits; return what ends that.

        Nobody is asked for any other key.

        Raises:
            RelayError: It may not run now.
        """
        if not caller.is_limited:
            return _nothing
        return await key_limits.enter(caller.name, self.queries, self.engagements, self.say)

    def exit_lease(self, lease: Lease, place: int = 0, keep_s: float | None = None) -> None:
        """End a request on `lease`; release the lease if it is due.

        Args:
            lease: The lease.
            place: The request's place; see `Exchange`.
            keep_s: How long the model is to be kept; see `ModelRequest`.
        """
        ended = (
            self.leases.exit(lease) if keep_s is None else self.leases.exit_and_keep(lease, keep_s)
        )
        if ended is not None:
            if isinstance(ended, Release):
                self.upstreams.forget(lease.endpoint)
            self.say(ended)
        if place:
            self.say(self.leases.leave_place(place))

    # --- what pages ask ------------------------------------------------------------------------

    async def states_there(self) -> Mapping[str, State]:
        """Return how models of peers stand, by ``<peer>/<model>``; nothing if nobody can tell."""
        if self.names.config.peer_models:
            with trio.move_on_after(_THERE_S), suppress(Unavailable):
                return (await self.queries.ask(lambda ask: ThereQuery(ask=ask), There)).states
        return {}

    async def cancel(self, request_id: str, caller: str, peer: str) -> CancelResult:
        """End a request, whichever worker has it.

        Raises:
            Unavailable: The supervisor does not answer.
        """
        result = self.running.cancel(request_id, caller, peer)
        if result != "unknown":
            return result
        told = await self.queries.ask(
            lambda ask: CancelQuery(ask=ask, request_id=request_id, caller=caller, peer=peer),
            CancelAnswer,
        )
        return told.result

    async def choose_profile(self, profile: str | None) -> None:
        """Choose a profile, for all workers; None for none. Returns once they follow.

        Raises:
            UnknownProfile: There is none of that name.
            Unavailable: The supervisor does not answer.
        """
        told = await self.queries.ask(
            lambda ask: ProfileOrder(ask=ask, profile=profile), ProfileAnswer
        )
        if told.error is not None:
            raise UnknownProfile(told.error.message)

    async def unload(self, model: str | None, *, at_once: bool = False) -> None:
        """Stop a model, or all; return when they have ended.

        Args:
            model: Its id; None: all.
            at_once: What runs on them is cut; otherwise it finishes first.

        Raises:
            RelayError: There is none of that id, or the supervisor does not answer.
        """
        await self.ask(
            UnloadRequest(model=model, mode="now" if at_once else "drain"),
            UnloadReply,
            within_s=_UNLOAD_S,
        )
