"""What the next supervisor has to know of a model, and whether it can go on with it."""

from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec

from arriero.protocol.records import UpstreamKind

from ...config.load import LaunchConfig, ModelConfig
from ...processes.kept_process import KeptProcess
from ...processes.port_owner import listens_on, stranger_at, stranger_on
from ...processes.ports import is_listening
from ...processes.unix_sockets import is_listening_at

# Of cards of models. New fields that have a default need no other one.
CARD_VERSION: Final = 1


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """A model, as it was started.

    Attributes:
        v: Version of this card.
        serves: It is ready; else it may be, or goes on starting.
        model: Its id.
        swap: Number of its start.
        launch: As `Spec.launch` was.
        endpoint: Its base URL, or ``unix:`` and a path.
        health_url: What it is asked; None: only whether it accepts connections.
        port: Where it listens on this machine; None: elsewhere.
        socket: The path of its unix socket, if it has one.
        chosen_port: For ``${PORT}``.
        fresh_key: For ``${API_KEY}``.
        key: What it wants to be shown.
        kind: Of its server; None: not known yet.
        is_itself: What was started is surely llama-server, and nothing more.
        reports: It was asked for its report.
        went: Models that were stopped for it: they come back if it cannot be started.
        start_id: Its name for its launcher.
        host: Where that has started it, if it has said so.
    """

    serves: bool
    model: str
    swap: int
    launch: str
    endpoint: str
    health_url: str | None
    port: int | None
    socket: str | None
    chosen_port: int | None
    fresh_key: str
    key: str
    kind: UpstreamKind | None
    is_itself: bool
    reports: bool
    went: tuple[str, ...] = ()
    start_id: str = ""
    host: str = ""
    v: int = CARD_VERSION

    def launched(self, config: ModelConfig) -> LaunchConfig:
        """Return its start; of `config` only what concerns its end."""
        now = config.launch(self.chosen_port, self.fresh_key, start_id=self.start_id)
        return LaunchConfig(
            command=now.command,
            env=now.env,
            endpoint=self.endpoint,
            health_url=self.health_url,
            port=self.port,
            stop_command=now.stop_command,
            socket=self.socket,
            host=self.host,
        )


def read_model_card(card: bytes) -> ModelCard | None:
    """Return what `card` says, if it is of a model, and can be understood."""
    try:
        found = msgspec.json.decode(card, type=ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.v == CARD_VERSION else None


def why_not_adopted(kept: KeptProcess, card: ModelCard, config: ModelConfig) -> str:
    """Return why `kept` cannot go on; empty if it can.

    A model that is busy may not answer its check, so it is not asked: that it hangs, if so, is
    noticed as ever. Takes a millisecond; some ten if its port is not plainly its own.
    """
    if not kept.runs:
        return "its process ended while there was no supervisor"
    if not kept.is_ours:
        return "its process is another user's"
    if not card.serves:  # where it answers is found out when it does
        return ""
    if config.sleep and card.kind != "llama-server":  # which wakes by itself
        return "it may be asleep"
    stands_in = config.ends_elsewhere  # who listens may be no process of ours
    if card.socket is not None:
        if not is_listening_at(card.socket):
            return "nobody listens on its socket"
        taken_by = None if stands_in else stranger_at(card.socket, kept.pid)
    elif card.port is not None:
        host = urlsplit(card.endpoint).hostname or ""
        if not is_listening(card.port, host):
            return f"nobody listens on its port {card.port}"
        look = partial(stranger_on, card.port, host, kept.pid, listens_itself=card.is_itself)
        taken_by = None if stands_in or listens_on(card.port, host, kept.pid) else look()
    else:
        taken_by = None
    return "" if taken_by is None else f"process {taken_by} has its place"
