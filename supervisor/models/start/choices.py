"""What is chosen for one start: its port, its key, its name; and the command that follows."""

import os
import shutil
from collections.abc import Collection
from random import SystemRandom
from typing import Final

import msgspec

from arriero.digests import random_hex
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import ErrorInfo

from ...config.diff import launch_identity
from ...config.load import Config, LaunchConfig, ModelConfig
from ...errors import PortError
from ...host.http_get import Access
from ...llamacpp.api_key import holding
from ...llamacpp.api_key_file import read_key_file
from ...llamacpp.load_report import is_llama_server_itself, llama_server_in_place
from ...processes.ports import LAST_PORT, is_listening, pick_port
from ...processes.spawn import NOT_FOUND
from ...processes.unix_sockets import make_way
from .adoption import ModelCard
from .exit_reason import load_failed

# Ports that a start which has lost its own may jump over: two supervisors with the same startPort
# that start many models at once would otherwise meet again at the next one, and the next.
_PORT_JUMP: Final = 100

# Of a key that is made for a start, before it is written in hexadecimal digits.
_KEY_BYTES: Final = 32

# Of a name for a start, likewise. It may be that of a pod, or of a job.
_ID_BYTES: Final = 8


def _fresh_key() -> str:
    """Return a key. It may stand on a command line, and must not look like an option there."""
    return random_hex(_KEY_BYTES)


def _start_id() -> str:
    return f"arriero-{random_hex(_ID_BYTES)}"


class Choices(msgspec.Struct):
    """What is chosen for one start, anew for each try.

    Attributes:
        port: For ``${PORT}``; None: none is wanted.
        endpoint_port: Where it answers; mostly the same.
        fresh_key: For ``${API_KEY}``.
        start_id: Its name for its launcher.
        access: The way to it.
        without: What it does not get of our environment.
        is_itself: What is started is surely llama-server, and nothing more.
        asks_for_report: It is asked for its report.
        went: Models that were stopped for it.
    """

    port: int | None = None
    endpoint_port: int | None = None
    fresh_key: str = msgspec.field(default_factory=_fresh_key)
    start_id: str = msgspec.field(default_factory=_start_id)
    access: Access = msgspec.field(default_factory=Access)
    without: frozenset[str] = frozenset()
    is_itself: bool = False
    asks_for_report: bool = False
    went: tuple[str, ...] = ()

    @property
    def ports(self) -> list[int]:
        """Ports that are reserved for it."""
        return [port for port in (self.port, self.endpoint_port) if port is not None]

    def choose(
        self, config: ModelConfig, now: Config, taken: Collection[int], *, is_retry: bool
    ) -> LaunchConfig:
        """Choose a port and a key, and make sure that the port is free.

        Args:
            config: The model.
            now: The configuration in force.
            taken: Ports of other starts.
            is_retry: It has lost its port to another program.

        Raises:
            PortError: The port that it has to have is not free.
        """
        if config.wants_port:
            self.port = _choose_port(config, now, set(taken), is_retry=is_retry)
        self.without = holding(now.api_keys, os.environ)
        inherited = {name: os.environ[name] for name in os.environ.keys() - self.without}
        launch = config.launch(self.port, self.fresh_key, inherited, self.start_id)
        key = launch.wanted.key
        if launch.wanted.file:
            key = read_key_file(launch.wanted.file)
        self.access = Access(key, launch.socket)
        if launch.socket is not None:
            make_way(launch.socket)
        is_picked = self.port is not None and launch.port == self.port  # it is free, then
        if launch.port is not None and not is_picked and is_listening(launch.port):
            raise PortError(
                f"cannot use port {launch.port}: another program listens there; stop it, "
                "or write ${PORT} into cmd and proxy"
            )
        return launch

    def stop_argv(self, started: ModelConfig, now: ModelConfig | None, pid: int) -> tuple[str, ...]:
        """Return the command that ends the process `pid`; empty: SIGTERM.

        What was written since the start acts, if no more than that was: a command for another
        start may name what this one has not got.
        """
        config = now or started
        if launch_identity(config) != launch_identity(started):
            config = started
        return config.launch(self.port, self.fresh_key, start_id=self.start_id).stop_argv(pid)

    def follow(self, card: ModelCard) -> None:
        """Take over what an earlier supervisor has chosen."""
        self.port, self.endpoint_port = card.chosen_port, card.port
        self.start_id = card.start_id or self.start_id
        self.fresh_key, self.access = card.fresh_key, Access(card.key, card.socket)
        self.is_itself, self.asks_for_report = card.is_itself, card.reports
        self.went = card.went

    def card(
        self,
        config: ModelConfig,
        swap: int,
        launch: LaunchConfig,
        *,
        kind: UpstreamKind | None,
        serves: bool,
    ) -> bytes:
        """Return what the next supervisor has to know of the start `swap`."""
        card = ModelCard(
            serves=serves,
            model=config.model,
            swap=swap,
            launch=launch_identity(config),
            start_id=self.start_id,
            host=launch.host,
            endpoint=launch.endpoint,
            health_url=launch.health_url,
            port=launch.port,
            socket=launch.socket,
            chosen_port=self.port,
            fresh_key=self.fresh_key,
            key=self.access.key,
            kind=kind,
            is_itself=self.is_itself,
            reports=self.asks_for_report,
            went=self.went,
        )
        return msgspec.json.encode(card)


def _choose_port(config: ModelConfig, now: Config, taken: set[int], *, is_retry: bool) -> int:
    theirs = {model.port for model in now.models.values() if model.port is not None}
    if not is_retry:
        return pick_port(now.start_port, taken, preferred=config.port, reserved=theirs)
    first = min(LAST_PORT, now.start_port + SystemRandom().randrange(_PORT_JUMP))
    return pick_port(first, taken, reserved=theirs)


def missing_program(config: ModelConfig) -> ErrorInfo | None:
    """Return why the program of `config` cannot be found, if so."""
    program = config.command[0]
    if config.is_elsewhere:
        if config.templates is None:
            return None
        program = config.templates.start[0]
    path = dict(config.env).get("PATH", os.environ.get("PATH"))
    if shutil.which(program, path=path) is not None:
        return None
    return load_failed(config.model, f"cannot start {os.path.basename(program)!r}: {NOT_FOUND}")


def is_llama_server(config: ModelConfig) -> bool:
    """Return whether llama-server is started and nothing more, as far as can be seen from here."""
    if config.is_elsewhere:
        return llama_server_in_place(config.command) is not None
    return is_llama_server_itself(config.command, dict(config.env))
