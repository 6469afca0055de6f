"""Which arriero is asked, and with which key."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from arriero.protocol.control.running import StatusReply, StatusRequest

from ...errors import ConfigError
from ..connection import open_link
from ..find_sockets import CommandFailed, socket_folder
from ..place import LocalPlace
from .exchange import ServerAddress, read_address

_DEFAULT_URL: Final = "http://127.0.0.1:8080"

# Seconds for the supervisor of this user to say where it listens.
_ANSWER_S: Final = 5.0


class AskedServer(msgspec.Struct, frozen=True):
    """Who is asked.

    Attributes:
        address: Where requests go.
        key: Shown with each of them; None: none.
    """

    address: ServerAddress
    key: str | None

    def fields(self) -> list[tuple[str, str]]:
        """Return the fields that each request has."""
        return [] if self.key is None else [("Authorization", f"Bearer {self.key}")]


def find_server(url: str | None, key: str | None) -> AskedServer:
    """Find the arriero that is meant.

    Args:
        url: As it was said; None: that of this user or machine.
        key: As it was said; None: for that of this user, the first of ``apiKeys``, if there are
            any and the configuration can be read. It is shown to nobody else.

    Raises:
        click.BadParameter: `url` is none, or `key` cannot be sent.
    """
    if url is None:
        status = _status()
        url = _DEFAULT_URL if status is None else status.url or f"http://{status.listen}"
        if key is None and status is not None:
            key = _own_key(status)
    try:
        address = read_address(url)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--url") from exc
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise click.BadParameter("it has characters that no key has", param_hint="--key")
    return AskedServer(address, None if key is None else key.strip())


def _status() -> StatusReply | None:
    with open_link(LocalPlace(socket_folder(os.environ, _exists))) as link:
        try:
            reply = link.ask(StatusRequest(), StatusReply, within_s=_ANSWER_S)
        except CommandFailed:
            return None
    return reply if isinstance(reply, StatusReply) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _own_key(status: StatusReply) -> str | None:
    files = [Path(name) for name in status.config.files]
    try:
        if not any(b"apiKeys" in file.read_bytes() for file in files):
            return None
        from ...config.load import load_config  # takes a while to import

        keys = load_config(*files, environ=os.environ, unknown="warnings").api_keys
    except (OSError, ConfigError):
        return None  # another user's, or with secrets that are not set here
    return keys[0] if keys else None


def server_options(function: Callable[..., None]) -> Callable[..., Any]:
    """Add the options that say who is asked."""
    url = click.option(
        "--url",
        envvar="ARRIERO_URL",
        metavar="URL",
        help="Where arriero answers. Default: $ARRIERO_URL, then the one that runs here, then "
        f"{_DEFAULT_URL}.",
    )
    key = click.option(
        "--key",
        envvar="ARRIERO_API_KEY",
        metavar="KEY",
        help="The key to show. Better in $ARRIERO_API_KEY: others see command lines.",
    )
    return url(key(function))
