"""Passes a request on to a peer: wakes it, asks again, and tells the supervisor how it fares."""

import logging
import math
from typing import Final, Literal, TypeAlias

import trio
from msgspec.structs import replace

from arriero.protocol.lease import PeerFailed, WakePeer
from arriero.protocol.worker_config import PeerRoute, Timeouts

from ..errors import Unavailable, UpstreamDied, UpstreamRefused, UpstreamSilent
from ..progress.model_view import ModelView
from ..upstreams.pool import UpstreamUnreachable
from ..upstreams.retry import Retries
from .context import RelayContext
from .exchange import Exchange
from .response import relay
from .send import RetryAfter, chance, send
from .upstream_request import request_for_peer
from .wait_for_model import pause

log = logging.getLogger(__name__)

# Statuses of a peer that is not well, or that nobody in front of it can reach.
_FAILING: Final = frozenset({500, 502, 503, 504})

# Seconds for a connection to a machine that may be asleep: those that are awake take milliseconds.
_AWAKE_S: Final = 3.0

# Seconds between two tries to reach one that wakes up.
_WAKING_S: Final = 1.0

_Failure: TypeAlias = Literal["unreachable", "silent", "error"]


async def serve_peer(service: RelayContext, exchange: Exchange, peer: PeerRoute) -> None:
    """Pass a request on to a peer, which is woken first if it may be asleep.

    Raises:
        ClientGone: The client has left.
        RelayError: It could not be served, and nothing of a response was sent.
        ResponseCut: The response could not be completed: the connection has to be cut.
    """
    request, account, conn = exchange.request, exchange.account, exchange.writer.conn
    account.upstream_kind = peer.kind
    account.granted(trio.current_time())
    endpoint = service.upstreams.at(peer.url)
    retries = Retries(request.config.max_retry_wait_s, is_peer=True, may_fall=exchange.may_fall)
    awake_by = math.inf
    while True:
        sent = request_for_peer(
            exchange, peer, service.admission.keys, service.request_rules, service.instance
        )
        if peer.wake_s:
            sent = replace(sent, timeouts=_quick(sent.timeouts))
        try:
            response = await send(exchange, endpoint, sent, retries)
        except (UpstreamDied, UpstreamSilent) as error:
            is_silent = isinstance(error, UpstreamSilent)
            if not exchange.is_given_up:  # the supervisor has told us that
                failure: _Failure = "silent" if is_silent else "unreachable"
                _tell_failed(service, exchange, error.message, failure)
            if not isinstance(error, UpstreamUnreachable) or not request.is_replayable:
                raise
            if peer.wake_s and not exchange.may_fall:
                now = trio.current_time()
                awake_by = min(awake_by, now + peer.wake_s)
                if now >= awake_by:
                    raise Unavailable(
                        f"cannot ask '{peer.peer}': its machine was woken, and does not answer "
                        f"after {peer.wake_s:g} s"
                    ) from error
                service.say(WakePeer(peer=peer.peer))
                await _pause_and_tell(exchange, peer.peer, _WAKING_S)
                continue
            again_s = retries.after_loss(chance=chance())
            if again_s is None:
                raise
            wait_s = again_s
        else:
            if not isinstance(response, RetryAfter):
                if response.head.status in _FAILING:
                    _tell_failed(service, exchange, f"status {response.head.status}", "error")
                exchange.is_answered = True
                await relay(exchange, endpoint, response)
                return
            if response.status in _FAILING:
                _tell_failed(service, exchange, f"status {response.status}", "error")
            if exchange.may_fall:
                raise UpstreamRefused(
                    f"'{peer.peer}' answered with status {response.status}",
                    upstream_status=response.status,
                    code=f"http_{response.status}",
                )
            wait_s = response.wait_s
        log.info("request.again id=%s peer=%s", account.request_id, peer.peer)
        await pause(conn, wait_s)


def _quick(timeouts: Timeouts) -> Timeouts:
    return replace(timeouts, connect_s=min(timeouts.connect_s or _AWAKE_S, _AWAKE_S))


async def _pause_and_tell(exchange: Exchange, host: str, seconds: float) -> None:
    """Wait for some time, and tell the client that a machine is being woken.

    Raises:
        ClientGone: The client has left meanwhile.
        RequestCancelled: Somebody has asked for the end.
    """
    view, until = ModelView("machine", host=host), trio.current_time() + seconds
    await exchange.hear(view)
    progress = exchange.progress
    while (now := trio.current_time()) < until:
        due = until if progress is None else min(until, progress.next_deadline())
        await pause(exchange.writer.conn, due - now)
        if progress is not None:
            await progress.tell(view)


def _tell_failed(
    service: RelayContext,
    exchange: Exchange,
    why: str,
    failure: _Failure = "unreachable",
) -> None:
    """Tell the supervisor that a peer could not answer."""
    route = exchange.request.route
    found = service.names.config.peer_models.get(route.model)
    if found is not None and route.remote is None:
        service.say(PeerFailed(peer=found.peer, model=found.model, failure=failure, why=why))
