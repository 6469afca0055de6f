"""Files with a secret key for connections between machines: one line each."""

import os
import stat
from pathlib import Path
from typing import Final

from arriero.protocol.remote.curve import CurveKeys, from_hex, keys_of, to_hex

from ..errors import SupervisorError
from .atomic_file import read_file, replace_file

# Before the digits: so that nobody takes it for the other half.
_PREFIX: Final = "arriero-secret-"

_MOST_BYTES: Final = 1024
_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_keys(path: Path) -> CurveKeys:
    """Return the keys in `path`. Blocks.

    Raises:
        SupervisorError: They cannot be read, or others may; with the remedy.
    """
    try:
        data = read_file(path, _MOST_BYTES)
        mode = 0 if data is None else path.stat().st_mode
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise SupervisorError(f"cannot read the key {path}: {why}") from exc
    if data is None:
        raise SupervisorError(
            f"cannot read the key {path}: it does not exist; make one with: arriero keygen {path}"
        )
    if mode & _OF_OTHERS:
        raise SupervisorError(
            f"cannot use the key {path}: others may read it (mode {stat.S_IMODE(mode):04o}); run "
            f"'chmod 600 {path}'; if others were on this machine meanwhile, make another one"
        )
    text = data.decode(errors="replace").strip()
    secret = from_hex(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
    if secret is None:
        raise SupervisorError(
            f"cannot use the key {path}: there is no key in it; make one with: arriero keygen FILE"
        )
    return keys_of(secret)


def write_keys(path: Path, keys: CurveKeys, *, replace: bool = False) -> None:
    """Write `keys` to `path`, which only this user can read. Blocks, until it is on the disk.

    Args:
        path: Its folder has to be there.
        keys: What is written.
        replace: One that is there is replaced.

    Raises:
        FileExistsError: It is there, and is not to be replaced.
        OSError: It was not written.
    """
    line = f"{_PREFIX}{to_hex(keys.secret)}\n".encode()
    if replace:
        replace_file(path, line)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
