"""Output of commands, notes beside it, times."""

import re
from datetime import datetime, tzinfo
from typing import Final

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


_AGO: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", re.ASCII)
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float | None:
    """Return the seconds in ``30s``, ``1.5h`` or ``7d``; None if it is none of these."""
    match = _AGO.fullmatch(text.strip())
    return None if match is None else float(match[1]) * _UNITS_S[match[2]]


def moment(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Return the Unix time of ``24h`` (ago), or of a date and time.

    Args:
        text: What was written.
        now: Unix time.
        zone: Of times that do not say theirs; None: the local one.

    Raises:
        click.BadParameter: It is neither.
    """
    if (ago_s := seconds(text)) is not None:
        return now - ago_s
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise click.BadParameter(
            f"found {text[:60]!r}; write 24h (ago), 2026-11-29 or 2026-11-29T18:00"
        ) from exc
