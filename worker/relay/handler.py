"""One model request from its body to its last byte: name, lease, relay, errors."""

import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import trio

from arriero.protocol.lease import (
    Claim,
    Claimed,
    Unclaim,
)
from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import PeerRoute

from ..accounting.account import Account
from ..apis.error_response import error_answer
from ..apis.routes import BY_BODY, Route
from ..connections.connection import Connection, WaitingFor
from ..errors import (
    AlreadyRuns,
    ClientGone,
    RelayError,
    Unavailable,
    UpstreamDied,
)
from ..http.request_head import RequestHead
from ..http.tracing import RANDOM_BYTES, Trace, start_trace
from ..json.edit import Edited
from ..json.large_body import LARGE_BYTES, LargeBody, read_large
from ..leases.leases import Lease
from ..upstreams.heads import ResponseHead
from ..upstreams.pool import CONNECT_S, UpstreamUnanswered, UpstreamUnreachable
from ..upstreams.request import RequestOptions, UpstreamRequest, edit_body
from ..upstreams.retry import LocalLosses, Retries
from .context import RelayContext
from .exchange import Call, own_lines
from .prepare import open_call, way_of
from .response import AskAgain, relay
from .upload import Upload
from .upstream_request import head_for_model, head_for_peer
from .wait_for_model import exit_lease, hold, pause

log = logging.getLogger(__name__)

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
        ResponseCut: The answer could not be completed: the connection has to be cut.
    """
    close = not head.keep_alive or service.finishing
    # what has a limit from here on says so; that of the client's words is over
    conn.wait_for(WaitingFor.SUPERVISOR, math.inf)
    large: LargeBody | None = None
    unread: RelayError | None = None
    if len(body) > LARGE_BYTES:
        try:
            large = await conn.monitor.fairness.run(read_large(body, service.names.strip_large))
        except RelayError as error:
            unread = error
    if head.path == BY_BODY and unread is None:
        way = way_of(service, body if large is None else large.outline)
    conn.requests += 1
    conn.cancelled = conn.expired = False
    conn.verdict = None
    conn.busy = True
    caller = service.caller_of(head.keys)
    trace = start_trace(head.own, service.random.take(RANDOM_BYTES))
    request_id = service.running.enter(
        trace.request_id, trace.span_id, caller, conn.cancel, peer=conn.peer.decode("ascii")
    )
    account = Account(
        request_id=request_id,
        path=head.path,
        api=way.api,
        now=trio.current_time(),
        t=time.time(),
    )
    call: Call | None = None
    try:
        if unread is not None:
            raise unread
        call = open_call(service, conn, head, way, body, large, upload, account, caller, close)
        if head.idempotency_key is None:
            await _serve(service, call, trace)
        else:
            async with _claimed(service, call, head.idempotency_key):
                await _serve(service, call, trace)
    except RelayError as error:
        await _refuse(service, conn, head, way, account, call, error, close=close)
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
        service.running.exit(request_id)
        if call is not None:
            call.stop_beating()
            call.count_heartbeats()
            close = call.close
        service.ended(account, trio.current_time())
    return not close


async def _refuse(
    service: RelayContext,
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
    extra = own_lines(account, service.names.config, head)
    await conn.send(error_answer(error, close=close, extra=extra, api=way.api))


@asynccontextmanager
async def _claimed(
    service: RelayContext, call: Call, idempotency_key: bytes
) -> AsyncGenerator[None, None]:
    """Make sure that no other request with the same ``Idempotency-Key`` runs meanwhile.

    Raises:
        AlreadyRuns: One does.
    """
    key = idempotency_key.decode("latin-1")[:_MAX_KEY_CHARS]
    request_id = call.account.request_id
    taken_by = ""
    try:
        try:
            claimed = await service.queries.ask(
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
            service.say(Unclaim(caller=call.caller, key=key, request_id=request_id))


async def _serve(service: RelayContext, call: Call, trace: Trace) -> None:
    if call.peer is not None:
        await _serve_peer(service, call, call.peer, trace)
        return
    model = call.route.model
    retries: Retries | None = None
    losses = LocalLosses()
    lease = service.leases.enter(model)

    def again_after(head: ResponseHead) -> float | None:
        nonlocal retries
        assert lease is not None
        retries = retries or Retries(call.config.max_retry_wait_s, is_peer=False)
        return _again(retries, lease.granted_at, head)

    while True:
        if lease is None:
            lease = await hold(service, call)
            call.account.keeper.granted(trio.current_time())
        call.conn.lease = lease
        try:
            await _relay_local(service, call, lease, trace, again_after)
            return
        except (UpstreamUnreachable, UpstreamUnanswered) as loss:
            # The process went away a moment ago. Again, when the supervisor has noticed as well:
            # to one that has not, the model would still be ready.
            service.say(service.leases.broken(lease))
            again_s = losses.after_loss(
                trio.current_time(), refused=isinstance(loss, UpstreamUnreachable)
            )
            if again_s is None or not call.is_replayable:
                raise
            wait_s = again_s
        except AskAgain as again:
            wait_s = again.wait_s
        finally:
            call.conn.lease = None
            exit_lease(service, lease)
        log.info("request.again id=%s model=%s", call.account.request_id, model)
        await pause(service, call, wait_s)
        lease = None


async def _relay_local(
    service: RelayContext,
    call: Call,
    lease: Lease,
    trace: Trace,
    again_after: Callable[[ResponseHead], float | None],
) -> None:
    endpoint = service.upstreams.at(lease.endpoint)
    kind = call.route.kind or lease.kind
    call.account.keeper.upstream_kind = kind
    edited, length = _body_for(call, kind)
    head = head_for_model(call, endpoint, lease, length, trace, service.request_rules)
    await relay(call, endpoint, _outgoing(head, edited), again_after)


async def _serve_peer(service: RelayContext, call: Call, peer: PeerRoute, trace: Trace) -> None:
    keeper = call.account.keeper
    keeper.upstream_kind = peer.kind
    keeper.granted(trio.current_time())
    endpoint = service.upstreams.at(peer.url)
    retries = Retries(call.config.max_retry_wait_s, is_peer=True)
    while True:
        edited, length = _body_for(call, peer.kind)
        head = head_for_peer(call, peer, edited.body, length, trace, service.request_rules)
        outgoing = _outgoing(head, edited, connect_s=peer.connect_s, head_s=peer.header_s)
        try:
            await relay(call, endpoint, outgoing, partial(_again, retries, -math.inf))
            return
        except UpstreamUnreachable:
            wait_s = retries.after_loss(chance=_chance())
            if wait_s is None or not call.is_replayable:
                raise
        except AskAgain as again:
            wait_s = again.wait_s
        log.info("request.again id=%s peer=%s", call.account.request_id, peer.peer)
        await pause(service, call, wait_s)


def _claim(caller: str, key: str, request_id: str, ask: int) -> Claim:
    return Claim(ask=ask, caller=caller, key=key, request_id=request_id)


def _again(retries: Retries, granted_at: float, head: ResponseHead) -> float | None:
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
    if not call.stream and call.route.send_as is None:
        return Edited(call.body), len(call.body)
    tells = call.waiting is not None and call.waiting.committed and call.mode == "reasoning"
    options = RequestOptions(
        api=call.api,
        stream=call.stream,
        usage=call.turns is not None,
        progress=call.prefill is not None or call.turns is not None or tells,
    )
    path = call.target.partition(b"?")[0]
    edited = edit_body(call.body, call.route, kind, path, options, call.members)
    return edited, edited.length


def _outgoing(
    head: bytes, edited: Edited, *, connect_s: float = CONNECT_S, head_s: float = 0.0
) -> UpstreamRequest:
    return UpstreamRequest(
        head=head,
        body=edited.body,
        parts=edited.parts,
        asked_usage=edited.asked_usage,
        asked_progress=edited.asked_progress,
        connect_s=connect_s,
        head_s=head_s or math.inf,
    )
