"""What a configuration says, as immutable values that cannot be wrong. Deciding only."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from arriero.protocol.values import ModelRoute, ProgressMode, Strictness, WorkerConfig

from .addresses import Address

PORT: Final = "${PORT}"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of one model, with its port chosen.

    Attributes:
        command: Program and arguments.
        env: Added to the environment.
        endpoint: Base URL at which it will answer.
        health_url: What to ask until it is ready; None: it is ready as soon as it runs.
        port: The TCP port of `endpoint`, if that is on this machine.
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)  # may hold keys
    endpoint: str
    health_url: str | None
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model. Texts may hold ``${PORT}``, for which each start has another: see `launch`.

    Attributes:
        model: Its id.
        command: Program and arguments.
        proxy: Base URL.
        aliases: Other names.
        name: What people call it; may be empty.
        description: For listings; may be empty.
        unlisted: It is left out of listings.
        env: Added to the environment.
        check_endpoint: Path that answers 2xx when it is ready; None: ready as soon as it runs.
        ttl_s: Unloaded after so many idle seconds; 0 never.
        use_model_name: Put into the request's `model` field; None leaves it.
        health_check_timeout_s: Longest time from spawn to ready.
        unload_timeout_s: Time between SIGTERM and SIGKILL.
        progress: How waiting clients are told, unless a request says otherwise.
        strict: See the wire format.
        fingerprint: Hash of what determines how it loads.
    """

    model: str
    command: tuple[str, ...] = field(repr=False)  # may hold keys, as `env` may
    proxy: str
    aliases: tuple[str, ...]
    name: str
    description: str
    unlisted: bool
    env: tuple[tuple[str, str], ...] = field(repr=False)
    check_endpoint: str | None
    ttl_s: float
    use_model_name: str | None
    health_check_timeout_s: float
    unload_timeout_s: float
    progress: ProgressMode
    strict: Strictness
    fingerprint: str

    @property
    def wants_port(self) -> bool:
        """Whether a free port has to be chosen for a start."""
        return any(PORT in word for word in (*self.command, *(value for _, value in self.env)))

    def launch(self, port: int | None) -> Launch:
        """Fill `port` in; None is for models whose `wants_port` is false."""

        def fill(text: str) -> str:
            return text.replace(PORT, str(port))

        endpoint = fill(self.proxy)
        parts = urlsplit(endpoint)
        check = self.check_endpoint
        return Launch(
            command=tuple(fill(word) for word in self.command),
            env=tuple((name, fill(value)) for name, value in self.env),
            endpoint=endpoint,
            health_url=None if check is None else endpoint + fill(check),
            port=parts.port if parts.hostname in _LOOPBACK else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration.

    Attributes:
        models: By id, in the order of the file.
        listen: Where clients are answered.
        workers: Number of worker processes.
        start_port: First port for ``${PORT}``.
        progress_delay_s: Silence before progress; None: the mode's own.
        heartbeat_s: Longest silence of a stream that waits.
        marker: What each line of progress begins with.
        details: Whether numbers for programs are added.
    """

    models: Mapping[str, ModelConfig]
    listen: Address
    workers: int
    start_port: int
    progress_delay_s: float | None
    heartbeat_s: float
    marker: str
    details: bool
    _names: Mapping[str, ModelConfig] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        aliases = {alias: model for model in self.models.values() for alias in model.aliases}
        names = MappingProxyType(aliases | dict(self.models))  # an id is stronger than an alias
        object.__setattr__(self, "_names", names)

    def resolve(self, name: str) -> ModelConfig | None:
        """Return the model of that id or alias."""
        return self._names.get(name)

    def suggest(self, name: str) -> tuple[str, ...]:
        """Return names that look like `name`, the best first."""
        return tuple(difflib.get_close_matches(name[:200], self._names, 3))

    def route_table(self, generation: int = 1) -> WorkerConfig:
        """Return what workers have to know of this."""
        return WorkerConfig(
            generation=generation,
            models=tuple(
                ModelRoute(
                    model=model.model,
                    aliases=model.aliases,
                    send_as=model.use_model_name,
                    progress=model.progress,
                    strict=model.strict,
                    ttl_s=model.ttl_s,
                    name=model.name,
                    description=model.description,
                    unlisted=model.unlisted,
                )
                for model in self.models.values()
            ),
            progress_delay_s=self.progress_delay_s,
            heartbeat_s=self.heartbeat_s,
            marker=self.marker,
            details=self.details,
        )
