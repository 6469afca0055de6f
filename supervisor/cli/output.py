"""Output of commands, notes beside it, times."""

from datetime import datetime

import click
from msgspec import Struct

from arriero.protocol.codec import encode


def write_json(message: Struct) -> None:
    """Write `message` as one line of JSON."""
    click.echo(encode(message))


def note(text: str) -> None:
    """Write a note for the user to stderr."""
    click.echo(f"arriero: {text}", err=True)


def clock(t: float) -> str:
    """Return the Unix time `t` as local date and time."""
    return datetime.fromtimestamp(t).isoformat(sep=" ", timespec="milliseconds")


def short_clock(t: float) -> str:
    """Return the Unix time `t`, as short as is clear today."""
    at = datetime.fromtimestamp(t)
    return f"{at:%H:%M:%S}" if at.date() == datetime.now().date() else f"{at:%m-%d %H:%M}"
