"""A file -> a database. What cannot be one is put aside, and a new one is begun.

Nothing is ever deleted here: a file of a newer arriero, of another program or with broken pages may
still be worth something to somebody. Its owner finds it beside the new one.
"""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from .columns import COLUMNS, SUMS

# Says that a database is ours: "arri", the largest four letters that are a positive number.
APPLICATION_ID: Final = int.from_bytes(b"arri", "big")

# Of tables and their meaning. Columns of `requests` come and go without another one.
SCHEMA_VERSION: Final = 1

# Files that are put aside beside one store. Whoever has so many has another problem.
_MOST_ASIDE: Final = 9

# Seconds that another program, such as sqlite3, may keep the file to itself.
_BUSY_S: Final = 1.0

# Bytes of pages in memory, and of the log of writes. With a log of 4 MiB, as by default, a third of
# what a row takes is pages that are copied from it to their place again and again.
_CACHE_KIB: Final = 1024
_MAX_LOG_BYTES: Final = 16 * 1024**2

_PAGE_BYTES: Final = 4096

# No index: one of random ids takes a third of what a row does, for its page is another one each
# time, and all rows are looked through in a tenth of a second.
_TABLES: Final = (
    f"CREATE TABLE requests(id INTEGER PRIMARY KEY AUTOINCREMENT, {', '.join(COLUMNS)})",
    "CREATE TABLE usage(day INTEGER, model TEXT, key TEXT, requests INTEGER, failed INTEGER, "
    "input_tokens INTEGER, cached_tokens INTEGER, output_tokens INTEGER, "
    "reasoning_tokens INTEGER, nano_usd INTEGER, unpriced INTEGER, "
    "PRIMARY KEY(day, model, key)) WITHOUT ROWID",
    "CREATE TABLE captures(id INTEGER PRIMARY KEY, caller TEXT, size INTEGER, data BLOB)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# Columns that each of them has at least.
_NEEDED: Final = {
    "requests": {"id"},
    "usage": {"day", "model", "key", *SUMS},
    "captures": {"id", "caller", "size", "data"},
}

# What SQLite says of a file that is none of its own, or has broken pages.
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class UnusableFile(Exception):
    """The file can be put aside; the text says why it is of no use here."""


class StoreInUse(Exception):
    """Another supervisor writes to the file."""


def is_broken(failure: sqlite3.Error) -> bool:
    """Whether the file itself is what is wrong."""
    code = getattr(failure, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BROKEN


def open_in_memory() -> sqlite3.Connection:
    """Return a new database that is nowhere."""
    return _begun(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))


def open_database(path: Path) -> sqlite3.Connection:
    """Return the database in `path`, which is made if it is not there.

    Raises:
        UnusableFile: It is broken, or somebody else's.
        OSError: It cannot be opened.
        sqlite3.Error: It cannot be used for now: the disk is full, say.
    """
    _make_private(path)
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _begun(database)
        _take_from_others(path)
        return database
    except sqlite3.Error as exc:
        database.close()
        if is_broken(exc):
            raise UnusableFile(f"it is no database, or a broken one ({exc})") from exc
        raise
    except BaseException:
        database.close()
        raise


def _make_private(path: Path) -> None:
    """Make `path` before SQLite does: what clients ask is nobody else's business."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(f"{path} is no file")
    finally:
        os.close(file)


def _take_from_others(path: Path) -> None:
    """Let nobody else read what is ours: a backup that was put back may be readable by all."""
    for end in ("", "-wal", "-shm"):  # SQLite makes these with the mode of the first
        with suppress(FileNotFoundError, PermissionError):
            path.with_name(path.name + end).chmod(0o600)


def _begun(database: sqlite3.Connection) -> sqlite3.Connection:
    """Return `database` with our tables."""
    run = database.execute
    run("PRAGMA trusted_schema = OFF")
    is_new = _number(database, "SELECT count(*) FROM sqlite_schema") == 0
    if is_new:
        run("PRAGMA auto_vacuum = INCREMENTAL")
    else:
        _check(database)
    # A log of writes: readers do not wait, and a process that is killed leaves nothing half. With
    # NORMAL the last writes may be lost with the power, and never anything before them.
    # Source: sqlite.org/wal.html, "Performance Considerations".
    run("PRAGMA journal_mode = WAL")
    run("PRAGMA synchronous = NORMAL")
    run(f"PRAGMA journal_size_limit = {_MAX_LOG_BYTES}")
    run(f"PRAGMA wal_autocheckpoint = {_MAX_LOG_BYTES // _PAGE_BYTES}")
    run(f"PRAGMA cache_size = -{_CACHE_KIB}")
    run("PRAGMA temp_store = MEMORY")
    with transaction(database):
        if is_new:
            for statement in _TABLES:
                run(statement)
        else:
            run("DROP INDEX IF EXISTS requests_by_request_id")  # earlier versions made it
            there = _columns(database, "requests")
            for name in COLUMNS:
                if name not in there:
                    run(f"ALTER TABLE requests ADD COLUMN {name}")
    return database


def _check(database: sqlite3.Connection) -> None:
    if _number(database, "PRAGMA application_id") != APPLICATION_ID:
        raise UnusableFile("it is the database of another program")
    version = _number(database, "PRAGMA user_version")
    if version != SCHEMA_VERSION:
        raise UnusableFile(
            f"it is of another version ({version}) than this arriero writes ({SCHEMA_VERSION})"
        )
    for table, needed in _NEEDED.items():
        if not needed <= _columns(database, table):
            raise UnusableFile(f"it lacks the table {table!r}, or a part of it")


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    """Return the columns of a table; none if it is not there, or no table."""
    found = database.execute(
        "SELECT it.name FROM sqlite_schema AS s, pragma_table_info(s.name) AS it "
        "WHERE s.type = 'table' AND s.name = ?",
        (table,),
    )
    return {name for (name,) in found}


def _number(database: sqlite3.Connection, sql: str) -> int:
    (found,) = database.execute(sql).fetchone()
    return int(found)


@contextmanager
def transaction(database: sqlite3.Connection) -> Generator[None, None, None]:
    """Do all of the block, or nothing.

    Raises:
        sqlite3.Error: Nothing was done.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite has done so itself, if that was a full disk
            database.execute("ROLLBACK")
        raise


def put_aside(path: Path) -> Path:
    """Give the file another name, and return that.

    Raises:
        OSError: It stays where it is.
    """
    names = (path.with_name(f"{path.name}.aside-{n}") for n in range(1, _MOST_ASIDE + 1))
    aside = next((name for name in names if not name.exists()), None)
    if aside is None:
        raise OSError(f"{_MOST_ASIDE} files beside it were put aside already")
    path.rename(aside)
    for end in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Be the only supervisor with that store while the block runs.

    The lock is on a file beside it: SQLite's own locks would be lost with it.

    Raises:
        StoreInUse: There is another one.
        OSError: It cannot be locked.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path.with_name(f"{path.name}-lock"), flags, 0o600)
    with closing(os.fdopen(lock, "rb")):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUse("another supervisor writes to it") from None
        yield
