"""Looks at the files of the configuration, and tells what they say without secrets."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import trio

from arriero.protocol.control.base import Refusal
from arriero.protocol.control.settings import ConfigFile, ConfigRemark, ConfigReply, KeyStatus
from arriero.protocol.values import ConfigChanges, ErrorInfo

from ..config.diff import diff
from ..config.lint.lint import advise
from ..config.lint.real_disk import RealDisk
from ..config.shown.secrets import Secrets
from ..config.shown.source_text import SourceText
from ..config.sources import read_source
from ..config.values import Config
from ..config.yaml.tree import Node
from ..errors import ConfigError, Problem
from ..host.shortage import why
from ..workers.key_limits import KeyUse
from .reloader import ActiveConfig

# Seconds for one look, and for those that wait for their turn.
_LIMIT_S: Final = 30.0

# Characters of all files that are shown, remarks, and characters of a remark.
MAX_SHOWN: Final = 1_000_000
MAX_REMARKS: Final = 500
_MAX_CHARS: Final = 1000

_Kind = Literal["error", "warning", "note"]


class ConfigInspector:
    """Tells what is in the files, without secrets; one look at a time.

    Args:
        in_force: The configuration in force.
        sources: Gives the files as they are now; raises `ConfigError`.
        load: Reads them, and returns the tree as well; raises `ConfigError`.
        used: Gives what keys have used today.
    """

    def __init__(
        self,
        in_force: ActiveConfig,
        sources: Callable[[], tuple[Path, ...]],
        load: Callable[[], tuple[Config, Node]],
        used: Callable[[], Mapping[str, KeyUse]],
    ) -> None:
        self._in_force = in_force
        self._sources = sources
        self._load = load
        self._used = used
        self._limiter = trio.CapacityLimiter(1)

    async def look(self) -> ConfigReply | Refusal:
        """Return what there is now."""
        old = self._in_force.config
        try:
            with trio.move_on_after(_LIMIT_S):
                # In a thread, as for a reload: ten thousand models take seconds.
                files, remarks, changes = await trio.to_thread.run_sync(
                    self._read, old, abandon_on_cancel=True, limiter=self._limiter
                )
                return self._reply(files, remarks, changes)
            reason = f"reading it takes longer than {_LIMIT_S:g} s"
        except (OSError, MemoryError, RuntimeError) as exc:
            reason = why(exc)
        error = ErrorInfo(code="busy", message=f"cannot show the configuration: {reason}")
        return Refusal(error=error)

    def _reply(
        self,
        files: tuple[ConfigFile, ...],
        remarks: list[ConfigRemark],
        changes: ConfigChanges | None,
    ) -> ConfigReply:
        config = self._in_force.config
        used = self._used()
        return ConfigReply(
            generation=self._in_force.generation,
            files=files,
            remarks=tuple(remarks[:MAX_REMARKS]),
            more=max(0, len(remarks) - MAX_REMARKS),
            changes=changes,
            keys=tuple(
                KeyStatus(
                    name=key.name,
                    scopes=key.scopes,
                    models=key.models,
                    concurrency=key.concurrency,
                    daily_tokens=key.daily_tokens,
                    daily_cost=key.daily_cost or None,
                    requests=use.requests,
                    tokens=use.tokens,
                    cost_usd=use.cost_usd,
                )
                for key in config.client_keys.values()
                for use in (used.get(key.name, KeyUse()),)
            ),
            plain_keys=len(config.api_keys),
        )

    def _read(
        self, old: Config
    ) -> tuple[tuple[ConfigFile, ...], list[ConfigRemark], ConfigChanges | None]:
        secrets = Secrets()
        secrets.add_config(old)
        texts = self._texts()
        changes = None
        found: list[tuple[_Kind, Problem]] = []
        try:
            config, root = self._load()
        except ConfigError as exc:
            found += [("error", problem) for problem in exc.problems]
            found += [("warning", problem) for problem in exc.warnings]
            is_understood = False
        else:
            secrets.add_config(config)
            advice = advise(config, root, RealDisk())
            found += _all("warning", {*config.warnings, *advice.warnings})
            found += _all("note", {*config.notes, *advice.notes})
            changes = diff(old, config)
            # What was written meanwhile may have macros of which nothing is known.
            is_understood = texts == self._texts()
        shown = _shown(texts, secrets, is_understood=is_understood)
        remarks = [
            ConfigRemark(
                kind=kind,
                file=problem.source,
                line=problem.line,
                column=problem.column,
                path=secrets.taken_out(problem.path[:_MAX_CHARS]),
                message=secrets.taken_out(problem.message[:_MAX_CHARS]),
            )
            for kind, problem in found
        ]
        return shown, remarks, changes

    def _texts(self) -> tuple[tuple[str, str], ...]:
        texts: list[tuple[str, str]] = []
        try:
            for path in self._sources():
                try:
                    texts.append((str(path), read_source(path)))
                except ConfigError:  # which the reading tells as well
                    texts.append((str(path), ""))
        except ConfigError:
            pass
        return tuple(texts)


def _shown(
    texts: tuple[tuple[str, str], ...], secrets: Secrets, *, is_understood: bool
) -> tuple[ConfigFile, ...]:
    sources = [(name, SourceText(text)) for name, text in texts]
    for _, source in sources:  # what is secret in one is secret in all
        source.learn(secrets)
    files: list[ConfigFile] = []
    left = MAX_SHOWN
    for name, source in sources:
        shown = source.shown(secrets, is_understood=is_understood)
        files.append(ConfigFile(name=name, text=shown[:left], is_cut=len(shown) > left))
        left -= min(left, len(shown))
    return tuple(files)


def _all(kind: _Kind, problems: Iterable[Problem]) -> list[tuple[_Kind, Problem]]:
    return [(kind, problem) for problem in sorted(problems)]
