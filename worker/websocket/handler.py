"""Answers requests for a WebSocket.

Of those of the Responses API we are an end: the first message names the model. All others name it
in their query, and are passed on as they are, like the bytes that follow.
"""

import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import msgspec
import trio

from ..accounting.account import Account, open_account
from ..accounting.usage_headers import request_id_field
from ..apis.base.api import Api
from ..apis.error_response import error_answer
from ..apis.model_names import Target
from ..apis.routes import PLAIN, RESPONSES, Route
from ..connections.connection import Connection, WaitingFor
from ..errors import ClientGone, RelayError, UpstreamDied
from ..http.body_memory import MemoryHold
from ..http.request_head import RequestHead
from ..http.request_target import with_model
from ..http.tracing import RANDOM_BYTES, Trace, start_trace
from ..relay.context import RelayContext
from ..relay.detours import ChosenTarget, choose
from ..relay.exchange import Exchange, open_exchange
from ..relay.model_request import ModelRequest, find_meant
from ..relay.response import note_head, relay_plain
from ..relay.send import UpstreamResponse
from ..upstreams.heads import ResponseBody, parse_answer_head
from ..upstreams.hops import check_hops, hops_of
from .dial import DialledUpstream, stoppable
from .handshake import (
    WsRequest,
    accept,
    answer_to_upgrade,
    check_opening,
    head_for_upstream,
    opening_of_ours,
)
from .leased_dial import dial_model
from .responses_relay import ResponsesSocket
from .responses_turns import ResponsesTurns
from .tunnel import Tunnel

log = logging.getLogger(__name__)

_SWITCHED = 101

# Seconds for the client to close, once all is said.
_PARTING_S = 2.0

# Bytes of randomness with which a WebSocket is opened.
_NONCE_BYTES = 16


async def answer_websocket(
    service: RelayContext, conn: Connection, head: RequestHead, way: WsRequest
) -> None:
    """Answer a request for a WebSocket, and relay it until its end.

    The connection ends with it.

    Args:
        service: Has the models.
        conn: Where it came from.
        head: Of the request.
        way: What it wants.

    Raises:
        ClientGone: The client has left.
        ResponseCut: An answer that opens none could not be completed.
    """
    conn.begin_request()
    conn.wait_for(WaitingFor.SUPERVISOR, math.inf)  # what has a limit from here on says so
    caller = conn.caller.ident
    trace = start_trace(head.own, os.urandom(RANDOM_BYTES))
    request_id = service.running.enter(
        trace.request_id, trace.span_id, caller, conn.cancel, peer=conn.peer.decode("ascii")
    )
    socket = _Socket(service, conn, head, way, caller, trace, request_id)
    conn.head = head
    try:
        if way.model is None:
            await socket.answer_turns()
        else:
            await socket.answer_tunnel(way.model)
    finally:
        conn.account = conn.head = conn.answered_head = None
        service.running.exit(request_id)
    await conn.transport.linger(_PARTING_S)  # bytes on their way here must not wipe the last word


class _Socket(msgspec.Struct):
    """One WebSocket."""

    service: RelayContext
    conn: Connection
    head: RequestHead
    way: WsRequest
    caller: str
    trace: Trace
    request_id: str
    _turns: int = 0
    _first: Account | None = None  # the account of the first turn
    _choice: ChosenTarget | None = None
    _leaves: dict[str | None, Callable[[], None]] = msgspec.field(default_factory=dict)

    # --- turns ---------------------------------------------------------------------------------

    async def answer_turns(self) -> None:
        """Relay a WebSocket of the Responses API."""
        service, conn = self.service, self.conn
        config = service.names.config
        names = service.names_for(conn.caller)
        try:
            check_opening(self.head)
            check_hops(hops_of(self.head.own), self.service.instance)
            accepted = accept(self.head)
        except RelayError as error:
            await self._refuse(error, self._open_account(self.request_id, RESPONSES))
            return
        id_line = b"X-Request-Id: %b\r\n" % self.request_id.encode("ascii")
        await conn.send(answer_to_upgrade(accepted, id_line))
        admit = self._enter_turn if conn.caller.is_limited else None
        turns = ResponsesTurns(names, self._open_turn, self._end_turn, self._choose, admit)
        hold = MemoryHold(service.bodies)
        socket = ResponsesSocket(
            conn, turns, config.upstream_idle_s, lambda: service.finishing, hold
        )
        try:
            await socket.run(lambda: self._dial_for(turns))
        finally:
            hold.release()
            self._end_choice()
            self._leave_turn(None)

    async def _enter_turn(self) -> None:
        self._leave_turn(None)
        self._leaves[None] = await self.service.enter(self.conn.caller)

    def _leave_turn(self, request_id: str | None) -> None:
        if (leave := self._leaves.pop(request_id, None)) is not None:
            leave()

    def _open_turn(self) -> Account:
        self._turns += 1
        request_id, more = self.request_id, ""
        if self._turns > 1:
            more = os.urandom(8).hex()
            wanted = f"{request_id}-t{self._turns}"
            request_id = self.service.running.enter(
                wanted, more, self.caller, self.conn.cancel, peer=self.conn.peer.decode("ascii")
            )
        account = self._open_account(request_id, RESPONSES, more)
        account.status = _SWITCHED
        if None in self._leaves:
            self._leaves[request_id] = self._leaves.pop(None)
        account.granted(trio.current_time())
        account.was_asked = True
        if self._first is None:
            self._first = account
        else:  # they have the same model
            account.upstream_kind = self._first.upstream_kind
        return account

    def _end_turn(self, account: Account) -> None:
        self._close_account(account)
        self._leave_turn(account.request_id)
        if account.request_id != self.request_id:
            self.service.running.exit(account.request_id)

    @asynccontextmanager
    async def _dial_for(self, turns: ResponsesTurns) -> AsyncGenerator[DialledUpstream, None]:
        exchange = self._exchange_of_turns(turns)
        opening = opening_of_ours(os.urandom(_NONCE_BYTES))
        async with dial_model(self.service, exchange, opening) as dialled:
            request = exchange.request
            if turns.target is not None and request.route.model != turns.target.route.model:
                turns.lead_to(Target(request.route, request.peer))
            yield dialled

    def _exchange_of_turns(self, turns: ResponsesTurns) -> Exchange:
        account = self._first
        assert account is not None
        assert turns.target is not None
        return self._open_exchange(turns.target, account, self.way.target, account.asked)

    # --- a tunnel ------------------------------------------------------------------------------

    async def answer_tunnel(self, model: str) -> None:
        """Relay a WebSocket whose messages are nobody's business.

        Args:
            model: The model's name as the client wrote it.
        """
        account = self._open_account(self.request_id, PLAIN)
        account.asked = model
        exchange: Exchange | None = None
        try:
            check_opening(self.head)
            check_hops(hops_of(self.head.own), self.service.instance)
            names = self.service.names_for(self.conn.caller)
            found = find_meant(names, self.head, model)
            if found.detour is not None and found.detour.selector is not None:
                found = await self._choose(found.detour.selector)
            if found.route.ignore_websockets:
                self.conn.head = None  # it does not count as a request that runs
            account.model = found.route.model
            account.prices = found.route.prices
            target = self.way.target
            if found.route.send_as is not None:
                target = with_model(target, found.route.send_as)
            exchange = self._open_exchange(found, account, target, model)
            self._leaves[None] = await self.service.enter(self.conn.caller)
            with stoppable(self.conn):
                async with dial_model(self.service, exchange, b"") as dialled:
                    if dialled.opened.status == _SWITCHED:
                        await self._tunnel(exchange, dialled)
                    else:
                        await _pass_answer(exchange, dialled)
        except RelayError as error:
            if exchange is not None and exchange.writer.begun:
                account.failed(error)
            else:
                await self._refuse(error, account, exchange)
        except ClientGone:
            account.client_left()
            raise
        except BaseException:  # a cut answer, or this worker's end
            account.failed(UpstreamDied("the answer was cut"))
            raise
        finally:
            self._end_choice()
            self._leave_turn(None)
            self._close_account(account)

    async def _tunnel(self, exchange: Exchange, dialled: DialledUpstream) -> None:
        account = exchange.account
        exchange.writer.begun = True
        account.status = _SWITCHED
        line = b"HTTP/1.1 101 Switching Protocols\r\n"
        id_line = request_id_field(account.request_id)
        await self.conn.send(line + dialled.opened.lines + id_line + b"\r\n")
        tunnel = Tunnel(self.conn, dialled, exchange.request.config.upstream_idle_s)
        try:
            await tunnel.run()
        finally:
            account.bytes_out = tunnel.bytes_out

    # --- selectors ------------------------------------------------------------------------------

    async def _choose(self, selector: str) -> Target:
        choice = self._choice = await choose(self.service, selector)
        found = self.service.names.find_chosen(choice.target)
        if found.route.ignore_websockets:
            self._end_choice()  # they do not count
        return found

    def _end_choice(self) -> None:
        if self._choice is not None:
            self._choice.end()
            self._choice = None

    # --- both ----------------------------------------------------------------------------------

    def _open_account(self, request_id: str, api: Api, span_id: str = "") -> Account:
        trace = self.trace if not span_id else msgspec.structs.replace(self.trace, span_id=span_id)
        account = open_account(
            request_id=request_id,
            path=self.head.path,
            api=api,
            now=trio.current_time(),
            t=time.time(),
            trace=trace.ids() if self.service.names.config.traces else msgspec.UNSET,
            key=self.conn.caller.name,
        )
        self.conn.account = account
        return account

    def _close_account(self, account: Account) -> None:
        self.service.ended(account, trio.current_time())

    def _open_exchange(
        self, found: Target, account: Account, target: bytes, model: str
    ) -> Exchange:
        is_ours = self.way.model is None
        path = target.partition(b"?")[0]
        request = ModelRequest(
            head=head_for_upstream(self.head, target, is_ours=is_ours),
            way=Route(PLAIN, forward_path=path),
            target=target,
            asked=model,
            route=found.route,
            peer=found.peer,
            stream=is_ours,
            body=b"",
            config=self.service.names.config,
            trace=self.trace,
        )
        rules = self.service.response_rules
        return open_exchange(self.conn, request, account, close=True, rules=rules)

    async def _refuse(
        self, error: RelayError, account: Account, exchange: Exchange | None = None
    ) -> None:
        log.info("socket.refused id=%s status=%d", account.request_id, error.status)
        if exchange is not None:
            await exchange.writer.fail(error)
        else:
            account.failed(error)
            extra = request_id_field(account.request_id)
            await self.conn.send(error_answer(error, close=True, extra=extra, head=self.head))
        self._close_account(account)


async def _pass_answer(exchange: Exchange, dialled: DialledUpstream) -> None:
    """Pass a response on that opens no WebSocket.

    Raises:
        ResponseCut: It could not be completed.
        ClientGone: The client has left.
    """
    conn, idle_s = exchange.writer.conn, exchange.request.config.upstream_idle_s
    head = parse_answer_head(dialled.raw)
    note_head(exchange, head)
    conn.upstream = dialled.link
    conn.wait_for(WaitingFor.UPSTREAM, idle_s)
    body = ResponseBody(head)
    await relay_plain(
        exchange, UpstreamResponse(conn, idle_s, dialled.link, head, body, dialled.rest)
    )
