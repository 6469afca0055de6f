"""Answers one model request: name, lease, relay, errors."""

import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
import trio
from msgspec import UNSET

from arriero.protocol.lease import Claim, Claimed

from ..accounting.account import Account, open_account
from ..accounting.capture import ResponseRecorder
from ..accounting.usage import prompt_estimate
from ..apis.error_response import error_answer
from ..apis.routes import BY_BODY, Route
from ..connections.connection import Connection, WaitingFor
from ..errors import (
    AlreadyRuns,
    ClientGone,
    LoadFailed,
    RelayError,
    StillLoading,
    TooManyRequests,
    Unavailable,
    UpstreamDied,
    UpstreamRefused,
    UpstreamSilent,
)
from ..http.request_head import RequestHead
from ..http.tracing import RANDOM_BYTES, start_trace
from ..json.large_body import LARGE_BYTES
from ..upstreams.hops import check_hops, hops_of
from ..upstreams.pool import UpstreamUnanswered, UpstreamUnreachable
from ..upstreams.retry import LocalLosses, Retries
from ..upstreams.upload import Upload
from .context import RelayContext
from .detours import ChosenTarget, PlaceSearch, changed, choose, find_place, led_elsewhere
from .exchange import Exchange, open_exchange
from .model_request import (
    LongBody,
    ModelRequest,
    led_to,
    read_long,
    read_request,
    way_of,
    way_upstream,
)
from .response import answer_nothing, relay
from .response_writer import own_lines
from .send import RetryAfter, send
from .serve_peer import serve_peer
from .upstream_request import request_for_model
from .wait_for_model import hold, pause, peek

log = logging.getLogger(__name__)

# Failures of one machine: another one may do better.
_FALLS: Final = (LoadFailed, TooManyRequests, Unavailable, UpstreamDied, UpstreamSilent)

# Scopes with which no model is started.
_ONLY_READS: Final = frozenset({"read"})

# Characters of an ``Idempotency-Key`` that count; it is a UUID as a rule.
_MAX_KEY_CHARS: Final = 256


async def answer(
    service: RelayContext,
    conn: Connection,
    head: RequestHead,
    way: Route,
    body: bytes,
    upload: Upload | None = None,
) -> bool:
    """Answer one model request.

    Args:
        service: What answering takes.
        conn: Where it came from.
        head: Its head.
        way: What its path says.
        body: All of it; empty with an `upload`.
        upload: A body that is passed on as it comes.

    Returns:
        Whether the connection may carry another request.

    Raises:
        ClientGone: The client has left.
        ResponseCut: The response could not be completed: the connection has to be cut.
    """
    close = not head.keep_alive or service.finishing
    clock = service.monitor.clock
    names = service.names_for(conn.caller)
    # what has a limit from here on says so; that of the client's words is over
    conn.wait_for(WaitingFor.SUPERVISOR, math.inf)
    long_body: LongBody | None = None
    unread: RelayError | None = None
    if len(body) > LARGE_BYTES and way.named_in != "path":
        try:
            steps = read_long(names, head, way, body)
            long_body = await conn.monitor.fairness.run(steps)
        except RelayError as error:
            unread = error
    if head.path == BY_BODY and unread is None:
        way = way_of(names, body if long_body is None else long_body.large.outline)
    elif way.named_in == "path":
        way = way_upstream(names, head, way)
        if conn.caller.scopes == _ONLY_READS:  # who only looks makes no other model leave
            way = way._replace(starts=False)
    conn.begin_request()
    caller = conn.caller.ident
    trace = start_trace(head.own, service.random.take(RANDOM_BYTES))
    request_id = service.running.enter(
        trace.request_id, trace.span_id, caller, conn.cancel, peer=conn.peer.decode("ascii")
    )
    account = open_account(
        request_id=request_id,
        path=head.path,
        api=way.api,
        now=clock(),
        t=time.time(),
        trace=trace.ids() if service.names.config.traces else UNSET,
        key=conn.caller.name,
    )
    if way.is_counted:
        conn.account, conn.head = account, head
    most_captured = service.names.config.capture_body_bytes if way.is_counted else 0
    recorder: ResponseRecorder | None = None
    if most_captured:
        recorder = conn.tee = ResponseRecorder(most_captured, conn.tee)
    exchange: Exchange | None = None
    held = _Held()
    try:
        if unread is not None:
            raise unread
        if head.own:
            check_hops(hops_of(head.own), service.instance)
        request = read_request(names, head, way, body, long_body, upload, account, trace)
        if request.detour is not None:
            request = await _lead(service, request, account, held)
        original = request
        has_changes = request.detour is not None or service.names.rules is not None
        if has_changes and not request.asks_nothing:
            request = await changed(conn, request, service.names.rules)
        exchange = open_exchange(
            conn,
            request,
            account,
            close=close,
            rules=service.response_rules,
            original=original,
        )
        if conn.caller.is_limited:
            held.leave = await service.enter(conn.caller)
        if head.idempotency_key is None:
            await _serve_somewhere(service, exchange, held.search)
        else:
            async with _claimed(service, caller, head.idempotency_key, request_id):
                await _serve_somewhere(service, exchange, held.search)
    except RelayError as error:
        _log_failure(account, error)
        if exchange is not None:
            await _fail(exchange, error)
        else:
            account.failed(error)
            extra = own_lines(account, service.names.config, head)
            await conn.send(error_answer(error, close=close, extra=extra, api=way.api, head=head))
    except ClientGone:
        account.client_left()
        raise
    except BaseException:  # a cut response, or this worker's end
        if conn.cancelled:
            account.was_cancelled()
        account.failed(UpstreamDied("the answer was cut"))
        raise
    finally:
        conn.busy = False
        conn.account = conn.head = conn.answered_head = None
        service.running.exit(request_id)
        held.release()
        if exchange is not None:
            close = exchange.writer.close
            _sum_up(exchange)
        if way.is_counted:
            service.ended(account, clock())
        if recorder is not None:
            conn.tee = recorder.also
            sent = body if exchange is None else exchange.request.body
            service.captured(recorder.capture(account, caller, head, sent))
    return not close


class _Held(msgspec.Struct, eq=False):
    """What a request holds until its end, besides its lease.

    Attributes:
        choice: The target that a selector has chosen for it.
        search: For the machine that serves it.
        leave: Gives back its place among those of its key.
    """

    choice: ChosenTarget | None = None
    search: PlaceSearch | None = None
    leave: Callable[[], None] | None = None

    def release(self) -> None:
        """Give it all back."""
        if self.choice is not None:
            self.choice.end()
        if self.search is not None:
            self.search.end()
        if self.leave is not None:
            self.leave()


async def _lead(
    service: RelayContext, request: ModelRequest, account: Account, held: _Held
) -> ModelRequest:
    """Lead a request that names no one model to the one that shall serve it.

    Raises:
        ClientGone: The client has left.
        RelayError: There is none.
    """
    assert request.detour is not None  # otherwise it has nowhere to go
    if request.detour.selector is not None:
        held.choice = await choose(service, request.detour.selector)
        request = led_to(request, service.names.find_chosen(held.choice.target), account)
    held.search = find_place(service, request) if request.detour is not None else None
    if held.search is not None:
        place = await held.search.next()
        if place and place != request.route.model:
            request = led_to(request, service.names.find_place(place), account)
    return request


def _sum_up(exchange: Exchange) -> None:
    """Note in the account what is known at the end of an exchange."""
    account = exchange.account
    if exchange.progress is not None:
        account.heartbeats += exchange.progress.heartbeats
    if account.was_given_up:
        account.wasted_tokens = prompt_estimate(exchange.request.body)


def _log_failure(account: Account, error: RelayError) -> None:
    log.info(
        "request.failed id=%s model=%s status=%d code=%s",
        account.request_id,
        account.model,
        error.status,
        error.code,
    )


async def _fail(exchange: Exchange, error: RelayError) -> None:
    upload = exchange.request.upload
    if upload is not None and not upload.drained:
        exchange.writer.close = True
    await exchange.writer.fail(error)


@asynccontextmanager
async def _claimed(
    service: RelayContext, caller: str, idempotency_key: bytes, request_id: str
) -> AsyncGenerator[None, None]:
    """Make sure that no other request with the same ``Idempotency-Key`` runs meanwhile.

    Raises:
        AlreadyRuns: One does.
    """
    key = idempotency_key.decode("latin-1")[:_MAX_KEY_CHARS]
    claim = partial(Claim, caller=caller, key=key, request_id=request_id)
    taken_by = ""
    try:
        try:
            claimed = await service.queries.ask(lambda ask: claim(ask=ask), Claimed)
            taken_by = claimed.taken_by
        except Unavailable:  # nobody can tell; a repeated response is better than none
            pass
        if taken_by:
            raise AlreadyRuns(taken_by)
        service.engagements.claim(claim(ask=0))
        yield
    finally:
        if not taken_by:
            service.say(service.engagements.unclaim(caller, key, request_id))


def _serve_somewhere(
    service: RelayContext, exchange: Exchange, search: PlaceSearch | None
) -> Awaitable[None]:
    """Serve a request where its model is; if several machines have it, on one of them."""
    if search is None:
        return _serve(service, exchange)
    return _serve_in_turn(service, exchange, search)


async def _serve_in_turn(service: RelayContext, exchange: Exchange, search: PlaceSearch) -> None:
    """Serve a request on one of several machines, and if that fails before it answers, on another.

    Once its response has begun there is no way back: the client has a part of it.
    """
    account, conn = exchange.account, exchange.writer.conn
    while True:
        exchange.may_fall, exchange.is_given_up = search.has_more, False
        failure: RelayError
        try:
            peer = exchange.request.peer
            if peer is None or not exchange.may_fall or not exchange.request.is_replayable:
                await _serve(service, exchange)
                return
            with service.awaited.waits(peer.peer, exchange):
                await _serve(service, exchange)
            return
        except (*_FALLS, UpstreamRefused) as error:
            if exchange.is_answered or isinstance(error, StillLoading) or conn.verdict is not None:
                raise
            if not exchange.may_fall or not exchange.request.is_replayable:
                raise
            failure = error
        conn.expired = False  # that was the other machine's time
        await exchange.hear(None)
        before = exchange.request.route.model
        place = await search.next()
        if place:
            await led_elsewhere(service, exchange, place)
        elif isinstance(failure, UpstreamRefused) or exchange.is_given_up:
            exchange.may_fall = False  # what it says now is the answer
            await _serve(service, exchange)
            return
        else:
            raise failure
        log.info(
            "request.elsewhere id=%s from=%s to=%s code=%s",
            account.request_id,
            before,
            place,
            failure.code,
        )


def _serve(service: RelayContext, exchange: Exchange) -> Awaitable[None]:
    peer = exchange.request.peer
    asks_nothing = exchange.request.translation is not None and exchange.request.asks_nothing
    if asks_nothing and (peer is not None or _may_stay_stopped(service, exchange)):
        return answer_nothing(exchange)
    if peer is not None:
        return serve_peer(service, exchange, peer)
    if not exchange.request.starts:
        return _serve_running(service, exchange)
    return _serve_local(service, exchange)


def _may_stay_stopped(service: RelayContext, exchange: Exchange) -> bool:
    """Whether nothing is wanted but that the model be stopped, and it is."""
    request = exchange.request
    return request.keep_s == 0 and service.view.standing(request.route.model).state == "stopped"


async def _serve_local(service: RelayContext, exchange: Exchange) -> None:
    request, account, conn = exchange.request, exchange.account, exchange.writer.conn
    retries = Retries(request.config.max_retry_wait_s, is_peer=False)
    losses: LocalLosses | None = None
    # of a limited number of places each one is the supervisor's to give
    lease = None if request.route.concurrency_limit else service.leases.enter(request.route.model)
    while True:
        if lease is None:
            lease = await hold(service, exchange)
            account.granted(trio.current_time())
        conn.lease = lease
        retries.granted_at = lease.granted_at
        try:
            if lease.model != request.route.model:
                request = await led_elsewhere(service, exchange, lease.model)
            if request.translation is not None and request.asks_nothing:
                await answer_nothing(exchange)
                return
            endpoint = service.upstreams.at(lease.endpoint)
            account.upstream_kind = kind = request.route.kind or lease.kind
            account.swap = lease.swap
            sent = request_for_model(exchange, endpoint, lease, kind, service.request_rules)
            response = await send(exchange, endpoint, sent, retries)
            if not isinstance(response, RetryAfter):
                exchange.is_answered = True
                await relay(exchange, endpoint, response)
                return
            wait_s = response.wait_s
        except (UpstreamUnreachable, UpstreamUnanswered) as loss:
            # The process went away a moment ago. Again, when the supervisor has noticed as well:
            # to one that has not, the model would still be ready.
            service.say(service.leases.broken(lease))
            losses = losses or LocalLosses(conn.monitor.limits.refusing_s)
            refused = isinstance(loss, UpstreamUnreachable)
            again_s = losses.after_loss(trio.current_time(), refused=refused)
            if again_s is None or not request.is_replayable:
                raise
            wait_s = again_s
        finally:
            conn.lease = None
            service.exit_lease(lease, exchange.place, request.keep_s)
        log.info("request.again id=%s model=%s", account.request_id, request.route.model)
        await pause(conn, wait_s)
        lease = None


async def _serve_running(service: RelayContext, exchange: Exchange) -> None:
    """Ask a model that runs: it is neither started for this, nor kept.

    Raises:
        NotRunning: It does not run.
    """
    request, account = exchange.request, exchange.account
    lease = await peek(service, request.route.model, request.why_it_does_not_start)
    account.granted(trio.current_time())
    endpoint = service.upstreams.at(lease.endpoint)
    account.upstream_kind = kind = request.route.kind or lease.kind
    sent = request_for_model(exchange, endpoint, lease, kind, service.request_rules)
    response = await send(exchange, endpoint, sent, Retries(0.0, is_peer=False))
    if isinstance(response, RetryAfter):  # with no time to wait there is none
        raise Unavailable(f"model {request.route.model} asks for patience")
    await relay(exchange, endpoint, response)
