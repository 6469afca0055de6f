"""Wiring: opens the parts of a worker in order; that order, reversed, is the shutdown."""

import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path

import msgspec
import trio
import zmq

from arriero.idle_memory import give_back_when_idle
from arriero.protocol.transport import connected, open_context

from .connections.connection import Connection, ConnectionMonitor
from .connections.stream import SocketStream
from .control_socket import ControlSocket
from .feed_link import FeedLink
from .leases.queries import PendingQueries
from .limits import LIMITS, Limits
from .linux import outlive_parent
from .relay.context import RelayContext
from .server.accept import accept_connections, is_unix, open_listener, where_listening
from .server.accept_share import AcceptShares
from .server.containment import FLOOD_LOG, contain
from .server.http1 import HypercornBridge, serve_connection
from .server.late_protocols import LateHttp2
from .server.lazy_pages import open_late_pages
from .server.tls_door import TlsDoor
from .supervisor_link import TOPICS, SupervisorLink
from .upstreams.pool import Upstreams

log = logging.getLogger(__name__)

# Seconds until the requests that run when the worker is told to end are cut. The supervisor has
# its own, shorter limit; this one only keeps a forgotten worker from living for ever.
FINISH_S = 3600.0

# Seconds in which zmq hands the last messages over, once all requests have ended.
_LAST_WORD_S = 0.05


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with.

    Attributes:
        worker: Its number.
        listen_fds: The inherited listening sockets.
        plain_fds: Those of them on which no TLS is spoken, though there is a certificate.
        admin_fd: That on which administrators are answered, and nowhere else; None: everywhere.
        shares_fd: The inherited table of connections; None for a worker that is alone.
        socket_dir: Folder of the supervisor's sockets.
        parent_pid: The supervisor; the worker ends with it, unless another one comes in time.
        limits: How long it waits for others.
        token: Proves to the supervisor that this is the process that it has started.
    """

    worker: int
    listen_fds: tuple[int, ...]
    socket_dir: Path
    parent_pid: int
    plain_fds: tuple[int, ...] = ()
    admin_fd: int | None = None
    shares_fd: int | None = None
    limits: Limits = LIMITS
    token: bytes = b""

    @property
    def all_fds(self) -> tuple[int, ...]:
        """All listening sockets."""
        admin = () if self.admin_fd is None else (self.admin_fd,)
        return (*self.listen_fds, *self.plain_fds, *admin)


async def run_worker(settings: Settings, on_orphaned: Callable[[], None]) -> None:
    """Serve until the supervisor says that it is enough.

    Args:
        settings: What to serve, and for whom.
        on_orphaned: Called when the supervisor has gone.
    """
    with (
        open_context() as context,
        connected(context, zmq.DEALER, settings.socket_dir / "lease.sock") as lease,
        connected(context, zmq.SUB, settings.socket_dir / "events.sock", topics=TOPICS) as events,
        (monitor := ConnectionMonitor(settings.limits)).sends.running(),
    ):
        limits = settings.limits
        service = RelayContext(
            monitor=monitor,
            listening=where_listening(settings.all_fds),
            queries=PendingQueries(limits.query_s),
            upstreams=Upstreams(unanswered=limits.unanswered),
            ask=(control := ControlSocket(context, settings.socket_dir)).ask,
        )
        feeds = FeedLink(context, settings.socket_dir, service, control.ask)
        monitor.chores.append(service.upstreams.trim)
        monitor.chores.append(lambda _: FLOOD_LOG.flush())
        link = SupervisorLink(
            settings.worker,
            settings.token,
            settings.parent_pid,
            lease,
            events,
            service,
            limits,
        )
        control.is_silent = link.is_silent
        async with trio.open_nursery() as nursery:  # last: says what ran until the end
            nursery.start_soon(_watch_supervisor, link, on_orphaned)
            nursery.start_soon(_obey, link)
            nursery.start_soon(link.run)
            nursery.start_soon(feeds.run)
            nursery.start_soon(monitor.run)
            nursery.start_soon(give_back_when_idle)
            nursery.start_soon(monitor.readers.run)
            nursery.start_soon(service.waking.run)
            nursery.start_soon(service.broadcast.run)
            await link.welcomed.wait()
            if service.names.config.supervisor_grace_s:
                outlive_parent()
            await _serve(settings, service, link)
            link.flush()
            await link.all_noted()
            await trio.sleep(_LAST_WORD_S)  # sockets close without lingering
            nursery.cancel_scope.cancel()
    log.info("worker.finished worker=%d", settings.worker)


class _Doors:
    """Serves the connections of some listening sockets, as these want it.

    Args:
        service: What answering takes.
        page_door: Answers what asks no model.
        is_admin_here: What needs the scope `admin` is answered.
    """

    def __init__(
        self, service: RelayContext, page_door: HypercornBridge, *, is_admin_here: bool
    ) -> None:
        self._service = service
        self._page_door = page_door
        self._is_admin_here = is_admin_here
        self._http2_door = LateHttp2(self._take_stream)
        self._tls_door = TlsDoor(self._serve, service.monitor.limits)

    async def take(self, sock: socket.socket) -> None:
        """Serve a connection whose client speaks TLS, if there is a certificate."""
        try:
            peer = _peer_of(sock)
            if (tls := self._service.names.config.tls) is not None:
                await contain(self._tls_door(sock, peer, tls))
                return
            transport = SocketStream(sock)
        except OSError:  # reset before it was looked at
            sock.close()
            return
        await self._serve(transport, peer)

    async def take_plain(self, sock: socket.socket) -> None:
        """Serve a connection whose client speaks no TLS."""
        try:
            peer = _peer_of(sock)
            transport = SocketStream(sock)
        except OSError:
            sock.close()
            return
        await self._serve(transport, peer)

    def finish(self) -> None:
        """Take no further requests on connections of HTTP/2."""
        self._http2_door.finish()

    # Each coroutine on the way to a wait is gone through twice for it, so these are none.

    def _serve(self, transport: SocketStream, peer: bytes) -> Awaitable[None]:
        return self._answer(transport, peer, self._http2_door)

    def _take_stream(self, sock: socket.socket, peer: bytes) -> Awaitable[None]:
        return self._answer(SocketStream(sock), peer, None)

    def _answer(
        self, transport: SocketStream, peer: bytes, http2_door: LateHttp2 | None
    ) -> Awaitable[None]:
        conn = Connection(transport, peer, self._service.monitor)
        return contain(
            serve_connection(
                conn,
                self._service,
                self._page_door,
                http2_door,
                is_admin_here=self._is_admin_here,
            )
        )


async def _serve(settings: Settings, service: RelayContext, link: SupervisorLink) -> None:
    """Serve connections until `link.finish`, and until those that run then have ended."""
    admin_fd = settings.admin_fd
    async with AsyncExitStack() as pages:
        open_pages = partial(open_late_pages, service)
        clients = _Doors(
            service,
            await pages.enter_async_context(open_pages(is_admin_here=admin_fd is None)),
            is_admin_here=admin_fd is None,
        )
        doors = [clients]
        takes = dict.fromkeys(settings.listen_fds, clients.take)
        takes |= dict.fromkeys(settings.plain_fds, clients.take_plain)
        if admin_fd is not None:
            page_door = await pages.enter_async_context(open_pages(is_admin_here=True))
            admin = _Doors(service, page_door, is_admin_here=True)
            doors.append(admin)
            takes[admin_fd] = admin.take_plain if is_unix(admin_fd) else admin.take
        with ExitStack() as listeners:
            async with trio.open_nursery() as connections:  # running requests end first
                async with trio.open_nursery() as accepting:  # no new connections
                    shares = AcceptShares(settings.worker, settings.shares_fd)
                    for fd, take in takes.items():
                        listener = listeners.enter_context(open_listener(fd))
                        accepting.start_soon(
                            accept_connections, listener, take, connections, shares
                        )
                    # What was imported and set up stays for good: let the collector skip it.
                    gc.collect()
                    gc.freeze()
                    log.info("worker.serving worker=%d pid=%d", settings.worker, os.getpid())
                    await link.finish.wait()
                    accepting.cancel_scope.cancel()
                service.finishing = True
                service.feeds.over()
                connections.cancel_scope.deadline = trio.current_time() + FINISH_S
                service.monitor.finish()
                for door in doors:
                    door.finish()
                log.info("worker.finishing worker=%d", settings.worker)


def _peer_of(sock: socket.socket) -> bytes:
    if sock.family == socket.AF_UNIX:
        sock.setblocking(False)
        return b""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return str(sock.getpeername()[0]).encode("ascii")


async def _obey(link: SupervisorLink) -> None:
    """End by SIGTERM; finish first if ours has gone, for then one that cannot speak asks for it."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            if not link.is_away:
                break
            link.let_go()
    os.kill(os.getpid(), signal.SIGTERM)


async def _watch_supervisor(link: SupervisorLink, on_orphaned: Callable[[], None]) -> None:
    """Call `on_orphaned` when the supervisor has ended, and no other one goes on in time."""
    while True:
        pid = link.supervisor
        await _has_ended(pid)
        log.warning("worker.orphaned parent=%d", pid)
        if not await link.is_replaced():
            if not link.is_let_go:
                on_orphaned()
            return


async def _has_ended(pid: int) -> None:
    """Return as soon as the process `pid` has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)
