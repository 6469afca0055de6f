"""Output of `arriero check`: tables, lines, and JSON."""

from collections.abc import Iterable
from typing import Final

import msgspec

from ...config.lint.lint import Advice, homes
from ...config.lint.models import fixed_port, is_here
from ...config.model_config import PORT, ModelConfig
from ...config.schema.key_types import KeyConfig
from ...config.values import Config
from ...errors import ConfigError, Problem
from ...llamacpp.api_key import API_KEY, LEAST_SECRET
from ...placement.policy import DEFAULT_GROUP
from ...text.command_line import join_command
from ...text.printable import clean
from ...text.redact import HIDDEN, masked_command, masked_text
from .text import NOTHING, Table, duration

EXIT_WARNINGS: Final = 1
EXIT_ERRORS: Final = 2

# How many models of one peer, selector or profile are listed.
_LISTED: Final = 8


class Remark(msgspec.Struct, frozen=True):
    """A note, a warning or an error.

    Attributes:
        file: As it was given.
        line, column: From 1; 0 where something is missing altogether.
        path: The key, such as ``models.qwen.ttl``; may be empty.
        message: The finding, and the remedy.
    """

    file: str
    line: int
    column: int
    path: str
    message: str


class CheckedModel(msgspec.Struct, frozen=True):
    """One model. Secrets are hidden.

    Attributes:
        model: Its id.
        aliases: Other names.
        command: Program and arguments, without macros; ``${PORT}`` stays.
        proxy: Its base URL.
        answers_at: The same, short: a port of this machine, ``5800+`` if that is chosen, or a URL.
        ttl_s: Unloaded after so many idle seconds; 0 never.
        mode: How waiting clients see progress.
        group: Its group, or the sets of the matrix that name it; empty: in none of these.
    """

    model: str
    aliases: tuple[str, ...]
    command: tuple[str, ...]
    proxy: str
    answers_at: str
    ttl_s: float
    mode: str
    group: str


class CheckReport(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        ok: It can be used.
        models: In the order of the files; empty if it cannot be used.
        warnings: Problems that do not keep it from being used.
        errors: Why it cannot be used.
        notes: Facts worth knowing.
    """

    ok: bool
    models: tuple[CheckedModel, ...] = ()
    warnings: tuple[Remark, ...] = ()
    errors: tuple[Remark, ...] = ()
    notes: tuple[Remark, ...] = ()

    @property
    def exit_status(self) -> int:
        """Exit status for the shell."""
        if self.errors:
            return EXIT_ERRORS
        return EXIT_WARNINGS if self.warnings else 0


def accepted(config: Config, advice: Advice, *, with_models: bool = True) -> CheckReport:
    """Return the report on a configuration that can be used; if it is wanted, with its models."""
    groups = homes(config) if with_models else {}
    return CheckReport(
        ok=True,
        models=tuple(
            _checked(model, config.start_port, groups.get(model.model, ""))
            for model in (config.written_models.values() if with_models else ())
        ),
        warnings=_remarks((*config.warnings, *advice.warnings)),
        notes=_remarks((*config.notes, *advice.notes)),
    )


def refused(error: ConfigError) -> CheckReport:
    """Return the report on a configuration that cannot be used."""
    return CheckReport(ok=False, errors=_remarks(error.problems), warnings=_remarks(error.warnings))


def keys_table(keys: Iterable[KeyConfig]) -> Table:
    """Return the table of keys of clients."""
    return Table(
        ("key", "scopes", "models", "at a time", "tokens a day", "USD a day"),
        tuple(
            (
                clean(one.name),
                _listed(one.scopes) or "nothing",
                "all" if one.models is None else _listed(one.models) or "none",
                str(one.concurrency or "any"),
                str(one.daily_tokens or "any"),
                f"{one.daily_cost:f}" if one.daily_cost else "any",
            )
            for one in keys
        ),
    )


def tables(report: CheckReport, config: Config) -> list[Table]:
    """Return the tables of models, peers, selectors, keys and profiles; none is empty."""
    found = [
        _models(report.models),
        Table(
            ("peer", "proxy", "models"),
            tuple(
                (
                    clean(peer.peer),
                    clean(masked_text(peer.url)),
                    "as it tells" if peer.is_watched else _listed(peer.models),
                )
                for peer in config.peers.values()
            ),
        ),
        Table(
            ("selector", "strategy", "targets"),
            tuple(
                (clean(one.selector), one.strategy, _listed(one.targets))
                for one in config.selectors.values()
            ),
        ),
        keys_table(config.client_keys.values()),
        Table(
            ("profile", "pins"),
            tuple(
                (
                    clean(one.profile),
                    _listed(f"{pin} -> {target or 'nothing'}" for pin, target in one.pins.items()),
                )
                for one in config.profiles.values()
            ),
        ),
    ]
    return [table for table in found if table.rows]


def remark_line(remark: Remark) -> str:
    """Return `remark` with its place in front, as editors and terminals find it."""
    return clean(str(Problem(remark.file, remark.line, remark.column, remark.path, remark.message)))


def last_line(report: CheckReport) -> str:
    """Return the outcome, in words."""
    if report.errors:
        return f"{_counted(len(report.errors), 'error')}: this configuration cannot be used"
    warnings = _counted(len(report.warnings), "warning") if report.warnings else "nothing is wrong"
    return f"{_counted(len(report.models), 'model')}, {warnings}"


def _without(key: str, word: str) -> str:
    """Return `word` without the key of the server, wherever it is in it."""
    return word if len(key) < LEAST_SECRET or key == API_KEY else word.replace(key, HIDDEN)


def _checked(model: ModelConfig, start_port: int, group: str) -> CheckedModel:
    proxy = masked_text(model.place)
    key = model.launch(1).wanted.key
    port = fixed_port(model)
    answers_at = proxy
    if port is not None and proxy.count("/") == 2:  # no path
        answers_at = str(port)
    elif is_here(proxy) and proxy.endswith(f":{PORT}"):
        answers_at = f"{start_port}+"
    return CheckedModel(
        model=model.model,
        aliases=model.aliases,
        command=tuple(_without(key, word) for word in masked_command(model.command)),
        proxy=proxy,
        answers_at=answers_at,
        ttl_s=model.ttl_s,
        mode=model.progress
        + {"off": "", "on": ", strict", "force": ", strict: force"}[model.strict],
        group=group,
    )


def _models(models: Iterable[CheckedModel]) -> Table:
    return Table(
        ("model", "aliases", "answers at", "ttl", "mode", "group", "command"),
        tuple(
            (
                clean(model.model),
                clean(", ".join(model.aliases)) or NOTHING,
                clean(model.answers_at),
                duration(model.ttl_s) if model.ttl_s else NOTHING,
                model.mode,
                NOTHING if model.group in {"", DEFAULT_GROUP} else clean(model.group),
                clean(join_command(model.command).replace(f"'{HIDDEN}'", HIDDEN)) or NOTHING,
            )
            for model in models
        ),
        frozenset({"answers at", "ttl"}),
    )


def _remarks(problems: Iterable[Problem]) -> tuple[Remark, ...]:
    return tuple(
        Remark(_shown(one.source), one.line, one.column, one.path, _shown(one.message))
        for one in sorted(problems)
    )


def _shown(text: str) -> str:
    """Return `text` without characters that UTF-8 cannot hold.

    The name of a folder may have them.
    """
    return text.encode(errors="backslashreplace").decode()


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    more = f" and {len(all_names) - _LISTED} more" if len(all_names) > _LISTED else ""
    return clean(", ".join(all_names[:_LISTED])) + more


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
