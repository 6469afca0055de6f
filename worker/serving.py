"""One model request from its body to its last byte: name, lease, relay, errors. Doing."""

import logging
import math
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
import trio

from arriero.protocol.activity import RequestRecord, UpstreamKind
from arriero.protocol.lease import (
    CancelAsked,
    CancelResult,
    CancelTold,
    Claim,
    Claimed,
    FromWorker,
    RecordsAsked,
    RecordsTold,
    Unclaim,
)
from arriero.protocol.routes import PeerRoute, WorkerConfig
from arriero.protocol.values import ErrorInfo

from .account import Account
from .body_edits import Edited, check_one_model
from .call import Call, own_lines
from .error_answer import error_answer
from .errors import (
    AlreadyRuns,
    ClientGone,
    RelayError,
    StillLoading,
    Unavailable,
    UpstreamDied,
    from_supervisor,
)
from .head import RequestHead
from .header_rules import CompiledRules, compile_rules
from .headers import AnswerHead, origin_form, upstream_request
from .keys import caller_of
from .leases import Lease, Leases
from .naming import Asked, Names, asks_for_prefill_itself, read_body
from .outgoing import Outgoing, Wishes, edit_body
from .paths import BY_BODY, Form, Route, form_of_body, target_of
from .peers import peer_request
from .prefill import PrefillProgress, Style, style_of
from .progress_view import ProgressView
from .questions import Questions
from .relay import AskAgain, relay
from .retry import Retries
from .running import Running
from .sentry import Connection, Sentry, Waits, Wakeup
from .tracing import RANDOM_BYTES, Trace, start_trace
from .turn_events import TurnEvents
from .turn_request import QUERY_PATH, Query, TurnFormat, read_query, turn_format
from .turn_voice import TurnVoice
from .upload import Upload
from .upstream import CONNECT_S, Unreachable, Upstreams
from .waiting import View
from .ws_dial import Dialled, dial
from .ws_opening import as_upgrade

log = logging.getLogger(__name__)

# The longest wait of a stream, which can hear that it is alive. All that it waits for has deadlines
# of its own, far shorter; this one is above them.
STREAM_HOLD_S = 3600.0

# Seconds from a refused connection to asking for the model again. A process that ends closes its
# port first; pidfd tells the supervisor some milliseconds later.
AGAIN_PAUSE_S = 0.1

# Characters of an ``Idempotency-Key`` that count; it is a UUID as a rule.
_MOST_KEY_CHARS: Final = 256

# Characters of a name that are remembered, of a client that names nonsense.
_MOST_NAME_CHARS: Final = 400

_CHAT_PATH: Final = b"/v1/chat/completions"
_TELLS_PREFILL: Final = frozenset({Form.CHAT, Form.COMPLETION})
_QUEUES: Final = frozenset({"queued", "draining", "stopping"})


@dataclass(slots=True, kw_only=True)
class Service:
    """What answering a model request takes.

    Attributes:
        sentry: Looks after the clients' connections.
        names: The models of the configuration in force.
        request_rules, response_rules: What it changes in heads; None for nothing.
        say: Sends a message to the supervisor; set by the link to it.
        ended: Takes the account of a request that is over, and when that was; set likewise.
        questions: What the supervisor is asked and answers later.
        leases: What may be done without asking.
        running: Which requests run.
        view: How the models stand.
        upstreams: Connections to them.
        finishing: No further request is taken on any connection.
    """

    sentry: Sentry
    names: Names = field(default_factory=lambda: Names(WorkerConfig(generation=0, models=())))
    request_rules: CompiledRules | None = None
    response_rules: CompiledRules | None = None
    say: Callable[[FromWorker], None] = field(default=lambda _: None)
    ended: Callable[[Account, float], None] = field(default=lambda account, now: None)
    questions: Questions = field(default_factory=Questions)
    leases: Leases = field(default_factory=Leases)
    running: Running = field(default_factory=Running)
    view: ProgressView = field(default_factory=ProgressView)
    upstreams: Upstreams = field(default_factory=Upstreams)
    finishing: bool = False

    def configure(self, config: WorkerConfig) -> None:
        """Follow `config` from the next request on."""
        self.names = Names(config)
        self.request_rules = compile_rules(config.request_headers)
        self.response_rules = compile_rules(config.response_headers)

    def caller_of(self, fields: Sequence[tuple[bytes, bytes]]) -> str:
        """Return who asks, by the fields that may hold a key; without keys all are one."""
        return caller_of(fields) if self.names.config.api_keys else ""

    # --- what pages ask ------------------------------------------------------------------------

    async def cancel(self, request_id: str, caller: str) -> CancelResult:
        """End a request, whichever worker has it.

        Raises:
            Unavailable: The supervisor does not answer.
        """
        result = self.running.cancel(request_id, caller)
        if result != "unknown":
            return result
        told = await self.questions.ask(
            lambda ask: CancelAsked(ask=ask, request_id=request_id, caller=caller), CancelTold
        )
        return told.result

    async def records(self, request_id: str = "", most: int = 100) -> tuple[RequestRecord, ...]:
        """Return what became of the last requests, or of one.

        Raises:
            Unavailable: The supervisor does not answer.
        """
        told = await self.questions.ask(
            lambda ask: RecordsAsked(ask=ask, request_id=request_id, most=most), RecordsTold
        )
        return told.records

    # --- requests ------------------------------------------------------------------------------

    async def answer(self, conn: Connection, head: RequestHead, way: Route, body: bytes) -> bool:
        """Answer one model request.

        Returns:
            Whether the connection may carry another request.

        Raises:
            ClientGone: The client has left.
            AnswerCut: The answer could not be completed: the connection has to be cut.
        """
        return await self._answer(conn, head, way, body, None)

    async def answer_upload(
        self, conn: Connection, head: RequestHead, way: Route, upload: Upload
    ) -> bool:
        """Do the same for a request whose body is passed on as it comes."""
        return await self._answer(conn, head, way, b"", upload)

    async def _answer(
        self,
        conn: Connection,
        head: RequestHead,
        way: Route,
        body: bytes,
        upload: Upload | None,
    ) -> bool:
        close = not head.keep_alive or self.finishing
        if head.path == BY_BODY:
            way = self._way_of(body)
        conn.requests += 1
        conn.cancelled = conn.expired = False
        conn.busy = True
        # what has a limit from here on says so; that of the client's words is over
        conn.wait_for(Waits.SUPERVISOR, math.inf)
        caller = self.caller_of(head.keys)
        trace = start_trace(head.own, os.urandom(RANDOM_BYTES))
        request_id = self.running.enter(trace.request_id, trace.span_id, caller, conn.cancel)
        account = Account(
            request_id=request_id,
            path=head.path,
            form=way.form,
            now=trio.current_time(),
            t=time.time(),
        )
        call: Call | None = None
        try:
            call = self._open(conn, head, way, body, upload, account, caller, close)
            if head.idempotency_key is None:
                await self._serve(call, trace)
            else:
                async with self._claimed(call, head.idempotency_key):
                    await self._serve(call, trace)
        except RelayError as error:
            await self._refuse(conn, head, way, account, call, error, close=close)
        except ClientGone:
            account.keeper.client_left()
            raise
        except BaseException:  # a cut answer, or this worker's end
            if conn.cancelled:
                account.keeper.was_cancelled()
            account.keeper.failed(UpstreamDied("the answer was cut"))
            raise
        finally:
            conn.busy = False
            self.running.exit(request_id)
            if call is not None:
                call.stop_beating()
                call.count_heartbeats()
                close = call.close
            self.ended(account, trio.current_time())
        return not close

    def _way_of(self, body: bytes) -> Route:
        """Return what a request wants whose path does not say it."""
        try:
            value = msgspec.json.decode(body)
            peer = self.names.find(read_body(body).model).peer
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, RelayError):
            return Route(Form.CHAT)  # why it cannot be answered is said later
        return Route(form_of_body(value, peer.kind if peer is not None else "unknown"))

    def _open(
        self,
        conn: Connection,
        head: RequestHead,
        way: Route,
        body: bytes,
        upload: Upload | None,
        account: Account,
        caller: str,
        close: bool,
    ) -> Call:
        """Read what a request wants.

        Raises:
            RelayError: It makes no sense, or names no model that there is.
        """
        config = self.names.config
        target = origin_form(head)
        if way.forward_path is not None:
            target = way.forward_path + target[len(head.path) :]
        query: Query | None = None
        if upload is not None:
            asked = Asked(upload.model, upload.stream)
        elif head.path == QUERY_PATH:
            query = read_query(body)
            asked = Asked(query.model or self.names.first(), True)
            body = query.chat_body(asked.model)
            target = _CHAT_PATH
        elif way.model is not None:
            asked = Asked(way.model, bool(way.streams))
        else:
            asked = read_body(body)
            check_one_model(body)
            body = self.names.strip(body)
        account.keeper.asked = asked.model[:_MOST_NAME_CHARS]
        route, peer = self.names.find(asked.model)
        if head.path == BY_BODY:
            target = target_of(way.form, route.send_as or route.model, stream=asked.stream)
        if upload is not None and route.send_as is not None:
            upload.rename(route.send_as)
        account.keeper.model = route.model
        account.keeper.prices = route.prices
        told = query.format if query is not None else None
        if told is None and asked.stream and way.form is Form.CHAT and head.own:
            told = turn_format(head.own)
        style = style_of(head.own) if head.own and asked.stream else None
        tells_prefill = (
            style is not None
            and way.form in _TELLS_PREFILL
            and told is None
            and not asks_for_prefill_itself(body)
        )
        return Call(
            conn=conn,
            head=head,
            body=body,
            upload=upload,
            target=target,
            way=way,
            route=route,
            peer=peer,
            model=asked.model,
            stream=asked.stream,
            close=close,
            config=config,
            rules=self.response_rules,
            account=account,
            caller=caller,
            prefill=_prefill(style, way.form, asked.model) if style and tells_prefill else None,
            turns=_turns(account, told, query, asked.model, config.marker) if told else None,
        )

    async def _refuse(
        self,
        conn: Connection,
        head: RequestHead,
        way: Route,
        account: Account,
        call: Call | None,
        error: RelayError,
        *,
        close: bool,
    ) -> None:
        keeper = account.keeper
        log.info(
            "request.failed id=%s model=%s status=%d code=%s",
            account.request_id,
            keeper.model,
            error.status,
            error.code,
        )
        if call is not None:
            if call.upload is not None and not call.upload.drained:
                call.close = True
            await call.fail(error)
            return
        keeper.failed(error)
        extra = own_lines(account, self.names.config, head)
        await conn.send(error_answer(error, close=close, extra=extra, form=way.form))

    @asynccontextmanager
    async def _claimed(self, call: Call, idempotency_key: bytes) -> AsyncGenerator[None, None]:
        """Make sure that no other request with the same ``Idempotency-Key`` runs meanwhile.

        Raises:
            AlreadyRuns: One does.
        """
        key = idempotency_key.decode("latin-1")[:_MOST_KEY_CHARS]
        request_id = call.account.request_id
        taken_by = ""
        try:
            try:
                claimed = await self.questions.ask(
                    partial(_claim, call.caller, key, request_id), Claimed
                )
                taken_by = claimed.taken_by
            except Unavailable:  # nobody can tell; a repeated answer is better than none
                pass
            if taken_by:
                raise AlreadyRuns(taken_by)
            yield
        finally:
            if not taken_by:
                self.say(Unclaim(caller=call.caller, key=key, request_id=request_id))

    # --- to the model --------------------------------------------------------------------------

    async def _serve(self, call: Call, trace: Trace) -> None:
        if call.peer is not None:
            await self._serve_peer(call, call.peer, trace)
            return
        model = call.route.model
        retries: Retries | None = None
        lost = False
        lease = self.leases.enter(model)

        def again_after(head: AnswerHead) -> float | None:
            nonlocal retries
            assert lease is not None
            retries = retries or Retries(call.config.max_retry_wait_s, is_peer=False)
            return _again(retries, lease.granted_at, head)

        while True:
            if lease is None:
                lease = await self._hold(call)
            call.account.keeper.granted(trio.current_time())
            try:
                await self._relay_local(call, lease, trace, again_after)
                return
            except Unreachable:
                # The process went away a moment ago. Once more, when the supervisor has noticed
                # as well: to one that has not, the model would still be ready.
                self.say(self.leases.broken(lease))
                if lost or not call.is_replayable:
                    raise
                lost = True
                wait_s = AGAIN_PAUSE_S
            except AskAgain as again:
                wait_s = again.wait_s
            finally:
                self._exit(lease)
            log.info("request.again id=%s model=%s", call.account.request_id, model)
            await self._pause(call, wait_s)
            lease = None

    async def _relay_local(
        self,
        call: Call,
        lease: Lease,
        trace: Trace,
        again_after: Callable[[AnswerHead], float | None],
    ) -> None:
        endpoint = self.upstreams.at(lease.endpoint)
        kind = call.route.kind or lease.kind
        call.account.keeper.upstream_kind = kind
        edited, length = _body_for(call, kind)
        head = upstream_request(
            call.head,
            target=call.target,
            length=length,
            peer=call.conn.peer,
            base_path=endpoint.base_path,
            extra=trace.upstream_lines,
            rules=self.request_rules,
        )
        await relay(call, endpoint, _outgoing(head, edited), again_after)

    async def _serve_peer(self, call: Call, peer: PeerRoute, trace: Trace) -> None:
        keeper = call.account.keeper
        keeper.upstream_kind = peer.kind
        keeper.granted(trio.current_time())
        endpoint = self.upstreams.at(peer.url)
        retries = Retries(call.config.max_retry_wait_s, is_peer=True)
        while True:
            edited, length = _body_for(call, peer.kind)
            head = peer_request(
                peer,
                call.route.send_as or call.route.model,
                call.head,
                edited.body,
                length=length,
                route=call.way,
                stream=call.stream,
                own_keys=call.config.api_keys,
                now=time.time(),
                extra=trace.upstream_lines,
                rules=self.request_rules,
            )
            outgoing = _outgoing(head, edited, connect_s=peer.connect_s, head_s=peer.header_s)
            try:
                await relay(call, endpoint, outgoing, partial(_again, retries, -math.inf))
                return
            except Unreachable:
                wait_s = retries.after_loss(chance=_chance())
                if wait_s is None or not call.is_replayable:
                    raise
            except AskAgain as again:
                wait_s = again.wait_s
            log.info("request.again id=%s peer=%s", call.account.request_id, peer.peer)
            await self._pause(call, wait_s)

    # --- WebSockets ----------------------------------------------------------------------------

    @asynccontextmanager
    async def dialled(
        self, call: Call, trace: Trace, opening: bytes
    ) -> AsyncGenerator[Dialled, None]:
        """Ask the model of `call` for a WebSocket; its lease is held until the block ends.

        Args:
            call: Who asks; one whose WebSocket is open waits as long as a stream.
            trace: How it is called.
            opening: Lines that open a WebSocket of ours; empty if the client's own is passed on.

        Raises:
            ClientGone: The client has left meanwhile.
            RelayError: The model cannot be had, or not be reached.
        """
        if call.peer is not None:
            async with self._dial_peer(call, call.peer, trace, opening) as dialled:
                yield dialled
            return
        lost = False
        lease = self.leases.enter(call.route.model)
        while True:
            if lease is None:
                lease = await self._hold(call, is_patient=call.stream)
            call.account.keeper.granted(trio.current_time())
            async with AsyncExitStack() as stack:
                stack.callback(self._exit, lease)
                try:
                    dialled = await stack.enter_async_context(
                        self._dial_local(call, lease, trace, opening)
                    )
                except Unreachable:  # as in `_serve`
                    self.say(self.leases.broken(lease))
                    if lost:
                        raise
                    lost = True
                else:
                    yield dialled
                    return
            await self._pause(call, AGAIN_PAUSE_S)
            lease = None

    def _dial_local(
        self, call: Call, lease: Lease, trace: Trace, opening: bytes
    ) -> AbstractAsyncContextManager[Dialled]:
        endpoint = self.upstreams.at(lease.endpoint)
        call.account.keeper.upstream_kind = call.route.kind or lease.kind
        request = upstream_request(
            call.head,
            target=call.target,
            length=0,
            peer=call.conn.peer,
            base_path=endpoint.base_path,
            extra=trace.upstream_lines,
            rules=self.request_rules,
        )
        return dial(
            endpoint,
            as_upgrade(request, opening),
            connect_s=CONNECT_S,
            head_s=call.config.upstream_idle_s,
            may_stay=lambda: lease.admits,
        )

    def _dial_peer(
        self, call: Call, peer: PeerRoute, trace: Trace, opening: bytes
    ) -> AbstractAsyncContextManager[Dialled]:
        call.account.keeper.upstream_kind = peer.kind
        call.account.keeper.granted(trio.current_time())
        request = peer_request(
            peer,
            call.route.send_as or call.route.model,
            call.head,
            b"",
            length=0,
            route=call.way,
            stream=call.stream,
            own_keys=call.config.api_keys,
            now=time.time(),
            extra=trace.upstream_lines,
            rules=self.request_rules,
        )
        return dial(
            self.upstreams.at(peer.url),
            as_upgrade(request, opening),
            connect_s=peer.connect_s,
            head_s=peer.header_s or call.config.upstream_idle_s,
            may_stay=lambda: True,
        )

    # --- leases --------------------------------------------------------------------------------

    def _exit(self, lease: Lease) -> None:
        released = self.leases.exit(lease)
        if released is not None:
            self.upstreams.forget(lease.endpoint)
            self.say(released)

    async def _pause(self, call: Call, seconds: float) -> None:
        """Let some time pass.

        Raises:
            ClientGone: The client has left meanwhile.
            RequestCancelled: Somebody has asked for the end.
        """
        conn = call.conn
        wakeup = conn.wakeup = Wakeup()
        conn.wait_for(Waits.SUPERVISOR, float("inf"))
        try:
            with trio.move_on_after(seconds):
                while True:
                    conn.check()
                    await wakeup.wait()
        finally:
            conn.wakeup = None
        conn.check()

    async def _hold(self, call: Call, *, is_patient: bool = False) -> Lease:
        """Wait for the model; the request is counted on the lease that is returned.

        Args:
            call: The request.
            is_patient: It hears that it is alive, as a stream does.

        Raises:
            ClientGone: The client has left meanwhile.
            RelayError: It will not get its model, or not in time.
        """
        conn = call.conn
        model = call.route.model
        wakeup = conn.wakeup = Wakeup()
        waiter, want = self.leases.want(model, wakeup.set)
        self.view.watch(model, wakeup.set)
        conn.wait_for(Waits.SUPERVISOR, float("inf"))
        call.start_waiting()
        is_held = is_patient or call.is_told or call.gets_blanks
        hold_s = STREAM_HOLD_S if is_held else call.config.nonstream_hold_s
        until = trio.current_time() + hold_s
        self.say(want)
        try:
            while (outcome := waiter.outcome) is None:
                conn.check()
                view = self.view.look(model)
                _note_wait(call, view)
                await call.tell(view)
                with trio.move_on_at(min(call.next_deadline(), until)):
                    await wakeup.wait()
                if trio.current_time() >= until and waiter.outcome is None:
                    raise _too_long(call)
            if isinstance(outcome, ErrorInfo):
                raise from_supervisor(model, outcome)
            await call.tell_ready()
        except BaseException:
            left = self.leases.quit(waiter)
            if left is not None:
                self.say(left)
            raise
        finally:
            conn.wakeup = None
            self.view.unwatch(model, wakeup.set)
        return outcome


def _claim(caller: str, key: str, request_id: str, ask: int) -> Claim:
    return Claim(ask=ask, caller=caller, key=key, request_id=request_id)


def _again(retries: Retries, granted_at: float, head: AnswerHead) -> float | None:
    """Return after how many seconds a model is asked again that has answered with `head`."""
    return retries.after_answer(
        head.status,
        head.fields,
        unix_now=time.time(),
        chance=_chance(),
        since_grant_s=trio.current_time() - granted_at,
    )


def _chance() -> float:
    return random.random()  # noqa: S311  it spreads retries, and keeps no secret


def _body_for(call: Call, kind: UpstreamKind) -> tuple[Edited, int | None]:
    """Return the body for an upstream of that kind, and how long it is; None in chunks."""
    if call.upload is not None:
        return Edited(b""), call.upload.length
    tells = call.waiting is not None and call.waiting.committed and call.mode == "reasoning"
    wishes = Wishes(
        form=call.form,
        stream=call.stream,
        usage=call.turns is not None,
        progress=call.prefill is not None or call.turns is not None or tells,
    )
    path = call.target.partition(b"?")[0]
    edited = edit_body(call.body, call.route, kind, path, wishes)
    return edited, len(edited.body)


def _outgoing(
    head: bytes, edited: Edited, *, connect_s: float = CONNECT_S, head_s: float = 0.0
) -> Outgoing:
    return Outgoing(
        head=head,
        body=edited.body,
        asked_usage=edited.asked_usage,
        asked_progress=edited.asked_progress,
        connect_s=connect_s,
        head_s=head_s or math.inf,
    )


def _prefill(style: Style, form: Form, model: str) -> PrefillProgress:
    return PrefillProgress(
        style=style,
        form=form,
        ident=f"{'chatcmpl' if form is Form.CHAT else 'cmpl'}-swap-{os.urandom(12).hex()}",
        created=int(time.time()),
        model=model,
        came=trio.current_time(),
    )


def _turns(
    account: Account, told: TurnFormat, query: Query | None, model: str, marker: str
) -> TurnVoice:
    conversation = query.conversation_id if query is not None else None
    events = TurnEvents(
        request_id=account.request_id,
        conversation_id=conversation or account.request_id,
        model=model,
        turn_format=told,
    )
    return TurnVoice(events, marker=marker)


def _note_wait(call: Call, view: View) -> None:
    now = trio.current_time()
    if view.stage in _QUEUES:
        call.account.keeper.queued(now)
    else:
        call.account.keeper.loading(now)


def _too_long(call: Call) -> RelayError:
    message = f"model {call.route.model} is not ready yet; ask again, the load goes on"
    return Unavailable(message) if call.is_told else StillLoading(message)
