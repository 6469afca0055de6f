"""The commands on keys of clients: they read the configuration, and ask nobody."""

import os
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from arriero.protocol.worker_config import SCOPES, Scope, plain_key_name

from ..config.load import load_config
from ..config.schema.key_types import HASH_PREFIX, KEY_NAMES, KeyConfig, is_key_name
from ..config.values import Config
from ..generate.client_key import hash_of, new_key
from .find_sockets import DEFAULT_CONFIG, CommandFailed
from .output import write_json
from .render.check import keys_table
from .render.text import aligned

T = TypeVar("T", bound=Callable[..., Any])

_MAX_COST: Final = Decimal(1_000_000)


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is good for, for programs. Members as in the configuration."""

    name: str
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] | None
    concurrency: int
    daily_tokens: int
    daily_cost: Decimal | None


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """All keys that have a name, and how many have none."""

    keys: tuple[KeyFacts, ...]
    plain: int


@click.group(epilog="Example:  arriero key new laptop --model 'qwen*' --daily-tokens 2000000")
def key() -> None:
    """Make keys for clients, and tell what they are good for."""


def _files(command: T) -> T:
    """Add what says which configuration is meant."""
    json = click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
    files = click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
    return files(json(command))


def _usd(_: click.Context, __: click.Parameter, value: str) -> Decimal:
    try:
        found = Decimal(value)
    except InvalidOperation:
        found = Decimal(-1)
    if not found.is_finite() or not 0 <= found <= _MAX_COST:
        raise click.BadParameter(f"{value!r} is no amount of US dollars; write 1.50")
    return found


@key.command(epilog="Example:  arriero key new laptop --scope infer --scope read")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What may be done with it; may be repeated. Default: infer.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="Models that may be used, such as 'qwen*'; may be repeated. Default: all.",
)
@click.option(
    "--concurrency", type=click.IntRange(0, 1_000_000), default=0, help="Requests at a time."
)
@click.option(
    "--daily-tokens", type=click.IntRange(0, 2**53), default=0, help="Tokens a day (UTC)."
)
@click.option(
    "--daily-cost", callback=_usd, default="0", metavar="USD", help="US dollars a day (UTC)."
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def new(
    name: str,
    scopes: tuple[Scope, ...],
    models: tuple[str, ...],
    concurrency: int,
    daily_tokens: int,
    daily_cost: Decimal,
    *,
    as_json: bool,
) -> None:
    """Make a key called NAME, show it once, and write the lines that make it known.

    The lines go into the configuration; `arriero reload` puts them in force. They hold a hash of
    the key: who loses the key makes another one. Nothing is changed by this command.
    """
    if not is_key_name(name):
        raise click.UsageError(f"{name[:80]!r} cannot be the name of a key: {KEY_NAMES}")
    made = new_key(
        name,
        scopes=scopes,
        models=models,
        concurrency=concurrency,
        daily_tokens=daily_tokens,
        daily_cost=daily_cost,
    )
    if as_json:
        write_json(made)
        return
    click.echo("# The key, for its client. It is shown this once:", err=True)
    click.echo(made.key)
    click.echo("\n# For the configuration; then: arriero reload", err=True)
    click.echo(made.lines, nl=False)


@key.command(epilog="Example:  arriero key check config.yaml < key.txt")
@_files
def check(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Read a key from standard input, and tell what it is good for.

    All FILEs together are one configuration, as for `serve`; without any, config.yaml in this
    folder is taken.
    """
    config = _config(files, "check")
    if sys.stdin.isatty():
        shown = click.prompt("Key", hide_input=True, err=True)
    else:
        shown = sys.stdin.readline()
    found = _find(config, shown.strip())
    if as_json:
        write_json(_facts(found))
    else:
        click.echo("\n".join(aligned(keys_table([found]))))


@key.command("list", epilog="Example:  arriero key list config.yaml")
@_files
def list_(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Show all keys, and what they are good for.

    FILEs as for `key check`.
    """
    config = _config(files, "list")
    plain = len(config.api_keys)
    if as_json:
        keys = tuple(map(_facts, config.client_keys.values()))
        write_json(KeyList(keys=keys, plain=plain))
        return
    if config.client_keys:
        click.echo("\n".join(aligned(keys_table(config.client_keys.values()))))
    if plain:
        names = " to ".join(plain_key_name(place) for place in sorted({1, plain}))
        click.echo(f"{plain} of apiKeys, called {names}, are good for everything")
    if not config.asks_for_keys:
        click.echo("there are no keys: whoever reaches arriero may do everything")


def _config(files: tuple[Path, ...], command: str) -> Config:
    if not files and not DEFAULT_CONFIG.exists():
        raise click.UsageError(
            f"there is no {DEFAULT_CONFIG} in this folder; say which file, such as: arriero key "
            f"{command} config.yaml"
        )
    return load_config(*(files or (DEFAULT_CONFIG,)), environ=os.environ)


def _find(config: Config, shown: str) -> KeyConfig:
    """Return the key that is shown.

    Raises:
        CommandFailed: There is no such key.
    """
    hashed = hash_of(shown)
    for one in config.client_keys.values():
        if HASH_PREFIX + one.sha256 == hashed:
            return one
    if shown in config.api_keys:
        name = plain_key_name(config.api_keys.index(shown) + 1)
        return KeyConfig(name=name, sha256=hashed, scopes=SCOPES)
    raise CommandFailed("no key of this configuration is that one")


def _facts(one: KeyConfig) -> KeyFacts:
    return KeyFacts(
        name=one.name,
        scopes=one.scopes,
        models=one.models,
        concurrency=one.concurrency,
        daily_tokens=one.daily_tokens,
        daily_cost=one.daily_cost,
    )
