"""The folders of the supervisor's sockets and of its state, and their locks.

The folder is what protects the sockets: no other user may enter or write to it, and one lock says
whose it is. (zmq takes over a socket path that another process is bound to without a word.) The
same with the state: what one has learned or saved another one would remove or write over.
"""

import fcntl
import logging
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import SupervisorError

log = logging.getLogger(__name__)

NAME = "arriero"
LOCK_NAME = "arriero.lock"

# The socket of the reaper of an earlier supervisor: it may be there still.
REAPER_NAME = "reaper.sock"

# The longest name of a socket in the folder, and the longest path that a unix socket may have
# (unix(7): 108 bytes with the zero at the end).
LONGEST_SOCKET_NAME = "control.sock"
_MAX_SOCKET_PATH_BYTES = 107

_MODE = 0o700
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def find_runtime_dir(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the conventional folder of the sockets.

    The first of: `explicit`, ``$RUNTIME_DIRECTORY`` (set by systemd), ``$XDG_RUNTIME_DIR/arriero``,
    ``$TMPDIR/arriero-<user id>`` (a name that clients can find; `open_runtime_dir` makes sure whose
    it is). Nothing is read or made: for clients, too.
    """
    if explicit is not None:
        return explicit.absolute()
    if folders := environ.get("RUNTIME_DIRECTORY"):
        return Path(folders.split(":")[0])
    if folder := environ.get("XDG_RUNTIME_DIR"):
        return Path(folder) / NAME
    return Path(environ.get("TMPDIR") or "/tmp") / f"{NAME}-{os.geteuid()}"  # noqa: S108


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder for state that outlives restarts.

    It may not exist yet.

    The first of: ``$STATE_DIRECTORY`` (set by systemd), ``$XDG_STATE_HOME/arriero``,
    ``~/.local/state/arriero``.
    """
    if folders := environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0])
    if folder := environ.get("XDG_STATE_HOME"):
        return Path(folder) / NAME
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(home) / ".local" / "state" / NAME


@contextmanager
def open_runtime_dir(
    explicit: Path | None, environ: Mapping[str, str]
) -> Generator[Path, None, None]:
    """Give the folder for sockets: private, ours alone, and without stale sockets.

    It is made if it is not there, and stays afterwards.

    Args:
        explicit: The folder that the user chose, or None.
        environ: The environment, see `find_runtime_dir`.

    Raises:
        SupervisorError: The folder is not private, is used by another supervisor, or cannot be
            made; with the remedy.
    """
    with ExitStack() as stack:
        folder = find_runtime_dir(explicit, environ)
        _check_length(folder)
        try:
            folder.mkdir(mode=_MODE, exist_ok=True)
            _check_private(folder)
            stack.enter_context(_locked(folder, "sockets", _WAY_OUT))
            _remove_stale_sockets(folder)
        except OSError as exc:
            raise SupervisorError(
                f"cannot use the folder {folder} for sockets: {exc.strerror}; {_WAY_OUT}"
            ) from exc
        yield folder


@contextmanager
def open_state_dir(environ: Mapping[str, str]) -> Generator[Path, None, None]:
    """Give the folder for state, ours alone; see `state_dir`.

    Where it cannot be made or locked, it is given all the same: what is learned is lost then, and
    the log says so.

    Raises:
        SupervisorError: Another supervisor uses it; with the remedy.
    """
    folder = state_dir(environ)
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
            stack.enter_context(_locked(folder, "its state", _STATE_WAY_OUT))
        except OSError as exc:
            log.warning("state.not_locked path=%s reason=%s", folder, exc)
        yield folder


_WAY_OUT = "choose another one with --socket-dir"
_STATE_WAY_OUT = "choose another one with XDG_STATE_HOME in its environment"


def _check_length(folder: Path) -> None:
    length = len(os.fsencode(folder / LONGEST_SOCKET_NAME))
    if length > _MAX_SOCKET_PATH_BYTES:
        too_long = length - _MAX_SOCKET_PATH_BYTES
        raise SupervisorError(
            f"cannot use the folder {folder} for sockets: its path is {too_long} bytes too long "
            f"for unix sockets; {_WAY_OUT}"
        )


def _check_private(folder: Path) -> None:
    # A link is followed only if none but us or root can have put it there.
    for found in (folder.lstat(), folder.stat()):
        trusted = {os.geteuid(), 0} if stat.S_ISLNK(found.st_mode) else {os.geteuid()}
        if found.st_uid not in trusted:
            raise SupervisorError(
                f"cannot use the folder {folder} for sockets: it belongs to user {found.st_uid}, "
                f"not to {os.geteuid()}; {_WAY_OUT}"
            )
    if not stat.S_ISDIR(found.st_mode):
        raise SupervisorError(f"cannot use {folder} for sockets: it is no folder; {_WAY_OUT}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise SupervisorError(
            f"cannot use the folder {folder} for sockets: others may write to it (mode "
            f"{stat.S_IMODE(found.st_mode):04o}); run 'chmod go-w {folder}', or {_WAY_OUT}"
        )


@contextmanager
def _locked(folder: Path, use: str, way_out: str) -> Generator[None, None, None]:
    """Hold the lock of a folder for some `use`.

    The kernel drops it when this process ends, however it ends.

    Raises:
        SupervisorError: Another one holds it; with the remedy, and the `way_out`.
        OSError: The folder takes no file, or has no locks.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(folder / LOCK_NAME, flags, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise SupervisorError(
                f"cannot use the folder {folder} for {use}: another supervisor does, with "
                f"process id {owner}; stop it, or {way_out}"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
        # The file stays: a lock on a file that another has removed protects nothing.
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _remove_stale_sockets(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != REAPER_NAME and stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
