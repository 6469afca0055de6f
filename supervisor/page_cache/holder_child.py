"""Companion process of a supervisor: keeps files in main memory, and gives way.

Started as ``python -I -S holder_child.py FD PRESSURE...``. Each line from the socket FD is a plan
(`orders.HolderPlan`): which files, how much of them, and whether to read now. Reports go to
standard output. It ends when the socket does, as it does with the supervisor, however that went.

Files are mapped in slices and locked, so nothing can drop them; nobody touches what is mapped, so a
file that is cut short harms nobody. Where this user may not lock memory they are read, and read
again when the kernel has dropped them.

It gives way by itself, for the supervisor may be what has to wait for memory: when tasks stall for
want of it, as the PRESSURE files tell, the least worthy slices go, a quarter at a time, and nothing
more is read for a while. Should that be too slow, this is the process that the kernel kills first,
and with it go its locks.

Only the standard library's smallest parts are imported. Sources: mmap(2), mlock(2), proc(5),
Linux, accounting/psi.
"""

import errno
import json
import mmap
import os
import random
import resource
import select
import socket
import stat
import sys
import time

TYPE_CHECKING = False  # that of `typing` would cost more than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

MIB = 1024**2

# mmap(2): lock what is mapped. Source: Linux, asm-generic/mman.h; x86, ARM and RISC-V have that.
_MAP_LOCKED = 0x2000

# Bytes that are brought in at a time: until they are there, nothing else is done. They grow with
# the plan, so that there are some hundred mappings at most, each of which is an open file.
SLICE_BYTES = 64 * MIB
_MOST_SLICES = 256

# Seconds between two looks at the pressure, and between two looks whether files are the same, and
# whether what is not locked is still there.
LOOK_S = 0.5
CHECK_S = 5.0
AGAIN_S = 60.0

# Share of the time in which some task stalled for want of memory: from here on it is short. What is
# given back each time: a quarter, but no less than this. And seconds until more is kept again,
# which double while that brings the shortage back.
SHORT_SHARE = 0.1
_GIVEN_SHARE = 4
_LEAST_GIVEN = 256 * MIB
FIRST_PAUSE_S = 60.0
LAST_PAUSE_S = 960.0

# Files that are not locked are looked at in so many places.
_SAMPLE_BYTES = 2 * MIB

# Seconds between two reports, at least.
_REPORT_S = 0.25

_MOST_REASON = 200


class Unusable(Exception):
    """A file cannot be kept."""


class Pressure:
    """Tells when memory is short.

    Attributes:
        pauses_until: Nothing more is kept before this time.
    """

    def __init__(self, paths: "Sequence[str]") -> None:
        self.pauses_until = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._paths = paths
        self._seen: dict[str, tuple[float, int]] = {}

    def is_short(self, now: float) -> bool:
        """Look at all files; return whether memory was short since the last look."""
        share = max((self._share(path, now) for path in self._paths), default=0.0)
        if share < SHORT_SHARE:
            return False
        if now >= self.pauses_until:  # else it is still the same shortage
            came_back = now < self.pauses_until + LAST_PAUSE_S and self.pauses_until > 0
            self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S) if came_back else FIRST_PAUSE_S
        self.pauses_until = now + self._pause_s
        return True

    def _share(self, path: str, now: float) -> float:
        total_us = _stalled_us(path)
        before = self._seen.get(path)
        if total_us is None:
            return 0.0
        self._seen[path] = (now, total_us)
        if before is None or now <= before[0]:
            return 0.0
        return (total_us - before[1]) / 1e6 / (now - before[0])


def _stalled_us(path: str) -> "int | None":
    """Return for how long tasks have stalled; None if the kernel does not tell."""
    try:
        with open(path, "rb") as file:
            for line in file.read(4096).splitlines():
                if line.startswith(b"some "):
                    return int(line.rpartition(b"total=")[2])
    except (OSError, ValueError):
        return None
    return None


class KeptFile:
    """One file of the plan.

    Attributes:
        path, identity: Of the plan.
        done: Bytes of it that are in memory.
        why: Why it cannot be kept; empty if it can.
    """

    def __init__(self, path: str, identity: "tuple[int, int, int]") -> None:
        self.path = path
        self.identity = identity
        self.done = 0
        self.why = ""
        self._fd = -1
        self._slices: list[tuple[int, mmap.mmap]] = []  # those that are locked

    @property
    def is_whole(self) -> bool:
        """All of it is in memory."""
        return self.done == self.identity[2]

    def bring_in(self, count: int, *, locks: bool) -> None:
        """Bring the next `count` bytes in, or as much as there is.

        Raises:
            PermissionError: This process may lock no more.
            Unusable: The file cannot be kept.
        """
        try:
            if self._fd < 0:
                self._fd = open_file(self.path, self.identity)
            count = min(count, self.identity[2] - self.done)
            how = mmap.MAP_SHARED | (_MAP_LOCKED if locks else mmap.MAP_POPULATE)
            found = mmap.mmap(self._fd, count, flags=how, prot=mmap.PROT_READ, offset=self.done)
        except OSError as exc:
            if locks and exc.errno in {errno.EAGAIN, errno.EPERM}:
                raise PermissionError from exc
            raise Unusable(os.strerror(exc.errno or 0)) from exc
        except ValueError as exc:
            raise Unusable("it was cut short") from exc
        self.done += count
        if locks:
            self._slices.append((count, found))
        else:
            found.close()
        if self.is_whole and locks:
            self._close()  # each slice has it open

    def look_again(self, size: int) -> "Generator[None]":
        """Bring back what the kernel has dropped, `size` bytes in each step."""
        for start in range(0, self.done, size):
            count = min(size, self.done - start)
            if self._fd >= 0 and not is_there(self._fd, start, count):
                mapped = mmap.MAP_SHARED | mmap.MAP_POPULATE
                mmap.mmap(self._fd, count, mapped, mmap.PROT_READ, offset=start).close()
            yield

    def give_back(self) -> int:
        """Let the last slice go; return its bytes."""
        if not self._slices:  # nothing is locked: the kernel takes what it needs
            count, self.done = self.done, 0
            self._close()
            return count
        count, last = self._slices.pop()
        last.close()
        self.done -= count
        if not self.done:
            self._close()
        return count

    def give_back_all(self) -> None:
        """Let all of it go."""
        while self.done:
            self.give_back()
        self._close()

    def check(self) -> None:
        """Give it back if it is another file by now, or gone: else its disk space stays taken."""
        if self.why or not self.done:
            return
        try:
            seen = os.stat(self.path)
            if (seen.st_dev, seen.st_ino, seen.st_size) == self.identity:
                return
            self.why = "it was changed"
        except OSError as exc:
            self.why = os.strerror(exc.errno or 0)
        self.give_back_all()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_file(path: str, identity: "tuple[int, int, int]") -> int:
    """Open the file that was meant, and nothing else.

    With O_PATH nothing is opened yet: a pipe would wait for a writer, a device may do anything.

    Raises:
        OSError: It cannot be opened.
        Unusable: It is another one.
    """
    looked = os.open(path, os.O_PATH)
    try:
        seen = os.fstat(looked)
        if not stat.S_ISREG(seen.st_mode):
            raise Unusable("it is no regular file")
        if (seen.st_dev, seen.st_ino, seen.st_size) != identity:
            raise Unusable("it was changed")
        return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY)
    finally:
        os.close(looked)


def is_there(fd: int, start: int, count: int) -> bool:
    """Return whether a part of a file is in memory, by some of its pages, each time others."""
    for place in range(start, start + count, _SAMPLE_BYTES):
        at = place + random.randrange(min(_SAMPLE_BYTES, start + count - place))  # noqa: S311
        try:
            os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT)
        except OSError:  # not in memory; or this file system cannot tell
            return False
    return True


class Shelf:
    """The files that are kept.

    Attributes:
        number: Of the plan.
        files: Those of the plan, the last of which is given up first.
        locks: They are locked.
        why: Why they are not.
    """

    def __init__(self, slice_bytes: int = SLICE_BYTES) -> None:
        self.number = 0
        self.files: list[KeptFile] = []
        self.locks = True
        self.why = ""
        self._most = 0
        self._least_slice = slice_bytes
        self._round: Generator[None] = iter_nothing()

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return sum(file.done for file in self.files)

    def follow(
        self, number: int, most: int, files: "Iterable[tuple[str, tuple[int, int, int]]]"
    ) -> None:
        """Follow a plan: give back what is not in it, and what is too much."""
        before = {(file.path, file.identity): file for file in self.files}
        self.number, self._most = number, most
        self.files = [before.pop(key) if key in before else KeptFile(*key) for key in files]
        for file in before.values():
            file.give_back_all()
        self._round = iter_nothing()
        self.give_back(self.held - most)

    def bring_in(self) -> bool:
        """Bring one slice in; return False if there is nothing to do."""
        size = max(self._least_slice, self._most // _MOST_SLICES // MIB * MIB)
        left = self._most - self.held
        for file in self.files:
            if file.why or file.is_whole:
                continue
            needed = min(size, file.identity[2] - file.done)
            if needed > left:
                return False
            try:
                file.bring_in(needed, locks=self.locks)
            except PermissionError:
                self._lock_no_more()
            except Unusable as exc:
                file.give_back_all()
                file.why = str(exc)[:_MOST_REASON]
            return True
        try:
            next(self._round)
        except StopIteration:
            return False
        except (OSError, ValueError):
            self._round = iter_nothing()  # it was changed: `check` sees that
        return True

    def look_again(self) -> None:
        """Begin to look whether all is still there."""
        if not self.locks:
            self._round = (None for file in self.files for _ in file.look_again(self._least_slice))

    def check(self) -> None:
        """Give back files that were changed."""
        for file in self.files:
            file.check()

    def give_back(self, count: int) -> None:
        """Give back at least `count` bytes, if there are so many."""
        for file in reversed(self.files):
            while file.done and count > 0:
                count -= file.give_back()

    def give_way(self) -> None:
        """Give back a part of what is locked, since memory is short."""
        self._round = iter_nothing()
        if self.locks:
            self.give_back(max(self.held // _GIVEN_SHARE, _LEAST_GIVEN))

    def _lock_no_more(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        self.why = f"not locked: this user may lock {limit // MIB} MiB (RLIMIT_MEMLOCK)"
        for file in self.files:
            file.give_back_all()
        self.locks = False

    def report(self, yields_s: float) -> bytes:
        """Return the state as a line; see `orders.HolderReport`."""
        state = {
            "number": self.number,
            "held": [file.done for file in self.files],
            "locked": self.locks,
            "why": self.why,
            "yields_s": round(yields_s),
            "bad": {number: file.why for number, file in enumerate(self.files) if file.why},
        }
        return json.dumps(state).encode() + b"\n"


def iter_nothing() -> "Generator[None]":
    """Give nothing."""
    yield from ()


class Output:
    """Writes reports, as far as they are read: who does not read holds up nothing."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = b""
        self._last = b""
        self._at = 0.0

    def tell(self, report: bytes, now: float) -> None:
        """Write `report`, if it is another one, and the last one is out."""
        if not self._rest and report != self._last and now >= self._at + _REPORT_S:
            self._rest = self._last = report
            self._at = now
        if self._rest:
            try:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
            except BlockingIOError:
                return


def run(
    orders: "socket.socket",
    shelf: Shelf,
    pressure: Pressure,
    tell: "Callable[[bytes, float], None]",
) -> None:
    """Follow plans until there are none any more."""
    reads = False
    rest = b""
    look_at = check_at = again_at = 0.0
    has_work = False
    while True:
        now = time.monotonic()
        has_work = has_work and reads and now >= pressure.pauses_until
        ready, _, _ = select.select([orders], [], [], 0.0 if has_work else LOOK_S)
        if ready:
            data = orders.recv(64 * 1024)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            if lines:
                plan = json.loads(lines[-1])
                reads = plan["reads"]
                files = [(one["path"], tuple(one["identity"])) for one in plan["files"]]
                shelf.follow(plan["number"], plan["most"], files)
                has_work = True
        now = time.monotonic()
        if now >= look_at:
            look_at = now + LOOK_S
            if pressure.is_short(now):
                shelf.give_way()
        if now >= check_at:
            check_at = now + CHECK_S
            shelf.check()
        if now >= again_at:
            again_at = now + AGAIN_S
            shelf.look_again()
        if reads and now >= pressure.pauses_until:
            has_work = shelf.bring_in()
        tell(shelf.report(max(0.0, pressure.pauses_until - now)), time.monotonic())


def main(arguments: "Sequence[str]") -> None:
    """Be nobody's trouble, and keep files."""
    os.nice(19)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # it stays as it is: the kernel chooses by size, then
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    orders = socket.socket(fileno=int(arguments[0]))
    try:
        run(orders, Shelf(), Pressure(arguments[1:]), Output(1).tell)
    except BrokenPipeError:
        return  # the supervisor is gone


if __name__ == "__main__":
    main(sys.argv[1:])
