"""Workers that are forked at the start: no different from those that are started as programs."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml
from trains import DEFAULTS, PATIENCE_S, Stream, Train, alive, eventually

from arriero.supervisor.processes.leftovers import FILE_NAME
from arriero.supervisor.processes.reaper_child import marked_processes

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def train(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train of two workers."""
    return start_shared_train({"workers": 2, "models": {"a": {"cmd": scripted()}}})


def facts(pid: int) -> dict[str, object]:
    """What a worker has from whoever started it."""
    status = Path(f"/proc/{pid}/status").read_text()
    process = psutil.Process(pid)
    # Most are made by itself, the same in each. Connections of clients come and go.
    unix = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    files = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    kept = [file for file in files if not file.startswith("socket:") or file[8:-1] in unix]
    return {
        "signals": re.findall(r"^Sig(?:Blk|Ign|Cgt):.*", status, re.MULTILINE),
        "umask": re.findall(r"^Umask:.*", status, re.MULTILINE),
        "limits": Path(f"/proc/{pid}/limits").read_text(),
        "files": sorted(re.sub(r"\d+", "", file) for file in kept),
        "parent": process.ppid(),
        "group": pid == int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2]),
        "folder": process.cwd(),
    }


def was_forked(pid: int) -> bool:
    """Whether it has pages that it shares with the supervisor, though they can be written to."""
    smaps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (shared_kb,) = re.findall(r"^Shared_Dirty: +(\d+) kB", smaps, re.MULTILINE)
    return int(shared_kb) > 1000


def replaced(train: Train, number: int) -> int:
    """Kill a worker; return the process id of the next one."""
    pid = train.workers()[number]
    psutil.Process(pid).kill()
    return int(
        eventually(
            lambda: [new for new in [train.workers().get(number)] if new not in {None, pid}]
        )[0]
    )


def test_the_first_workers_share_memory_and_are_our_children(train: Train) -> None:
    workers = train.workers()
    assert set(workers) == {1, 2}
    # and the reaper, and the store unless it rests: the zygote is one of the workers
    children = {child.pid: " ".join(child.cmdline()) for child in train.children()}
    others = [words for pid, words in children.items() if pid not in workers.values()]
    reapers = [words for words in others if "reaper_child.py" in words]
    assert len(reapers) == 1
    assert len(others) <= 2
    assert all("store.store_child" in words for words in others if words not in reapers)
    assert all(was_forked(pid) for pid in workers.values())
    assert all("-m arriero.worker --worker" in children[pid] for pid in workers.values())
    mark = (train.socket_dir / FILE_NAME).read_text()
    assert {*marked_processes(f"{mark}.")} == {*workers.values()}  # as whoever comes next sees it


def test_their_ends_are_told_and_programs_follow_them(train: Train) -> None:
    stream = Stream(train, "a", runs_on=True)
    eventually(lambda: stream.frames)
    (busy,) = eventually(
        lambda: [one for one in train.ask("workers")["workers"] if one["in_flight"]]
    )
    idle = 3 - busy["worker"]
    before = facts(train.workers()[idle])

    with train.events("worker/") as next_event:
        pid = replaced(train, idle)
        event = next_event()
        while event.get("state") != "gone":
            event = next_event()

    assert "ended by signal 9" in event["reason"]
    assert not was_forked(pid)
    assert eventually(lambda: facts(pid)["files"] == before["files"])
    assert facts(pid) == before
    assert stream.finish().frames[-1] == "data: [DONE]"
    assert not was_forked(replaced(train, busy["worker"]))
    assert train.chat("a").status_code == 200


def start(folder: Path, *given: int) -> "subprocess.Popen[bytes]":
    config = folder / "config.yaml"
    models = {"a": {"cmd": "sleep 1000", "proxy": "http://127.0.0.1:9"}}
    config.write_text(yaml.safe_dump(DEFAULTS | {"workers": 2, "models": models}))
    sockets = folder / "s"
    sockets.mkdir(mode=0o700, exist_ok=True)
    words = [sys.executable, "-m", "arriero", "serve", "--config", str(config)]
    with (folder / "log").open("wb") as log:
        words += ["--socket-dir", str(sockets)]
        return subprocess.Popen(words, stderr=log, pass_fds=given)


def zygote_of(process: "subprocess.Popen[bytes]") -> psutil.Process:
    """The first child, as soon as it is there."""
    found = eventually(lambda: psutil.Process(process.pid).children())
    return found[0]  # type: ignore[no-any-return]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.nightly)],  # takes its limit
)
def test_without_the_zygote_workers_are_started_as_programs(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    for _ in range(5):  # on a busy machine it may have become a worker before we see it
        with start(tmp_path) as process:
            try:
                zygote = zygote_of(process)
                zygote.send_signal(number)
                eventually(lambda: "supervisor.ready" in log.read_text())
                eventually(lambda: log.read_text().count("worker.serving") >= 4)  # both say it
                was_early = f"zygote.failed pid={zygote.pid} " in log.read_text()
                assert not was_early or not alive([zygote])
                if was_early:
                    eventually(lambda: len(family_of(process)) == 4)
            finally:
                process.terminate()
        assert process.wait(PATIENCE_S) == 0
        if was_early:
            return
    pytest.fail("the zygote was never seen before it was a worker")


@pytest.mark.nightly
def test_a_stopped_zygote_does_not_hold_up_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(5):  # as above
        with start(tmp_path) as process:
            zygote = zygote_of(process)
            zygote.send_signal(signal.SIGSTOP)
            eventually(lambda: (tmp_path / "s" / "lease.sock").exists())  # it waits for it next
            process.terminate()
            began = time.monotonic()
            process.wait(PATIENCE_S)
            took_s = time.monotonic() - began
        if "worker.serving" not in log.read_text():
            assert took_s < 8.0  # its limit for a fork is ten
            assert not alive([zygote])
            return
    pytest.fail("the zygote was never seen before it was a worker")


class Background(NamedTuple):
    """What a script has started with `&`, which has SIGINT ignored."""

    process: "subprocess.Popen[bytes]"
    log: Path
    given: Path  # a file that is open in it, too


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Generator[Background]:
    """One of which all serve."""
    folder = tmp_path_factory.mktemp("background")
    given = folder / "given"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with given.open("wb") as file:
            process = start(folder, file.fileno())
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        found = Background(process, folder / "log", given)
        try:
            eventually(lambda: "supervisor.ready" in found.log.read_text())
            yield found
        finally:
            process.terminate()
    assert process.returncode == 0


def test_they_have_no_file_that_we_were_given(background: Background) -> None:
    process, _, given = background
    family = family_of(process)
    assert len(family) >= 3
    for child in family:
        assert given not in open_files(child.pid)


def test_ctrl_c_is_left_to_the_script_that_has_started_us(background: Background) -> None:
    process, log, _ = background
    for number in (signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    eventually(lambda: "config.reloaded" in log.read_text(), what="what the second one asks for")
    assert "name=SIGINT" not in log.read_text()


def open_files(pid: int) -> list[Path]:
    """Return what a process has open and keeps open: others may be closed while we look."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(path.readlink())
    return found


def family_of(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Two workers, the reaper, and the store unless it rests."""
    return psutil.Process(process.pid).children()


@pytest.mark.nightly  # ten seconds
def test_nothing_survives_a_supervisor_killed_while_it_starts(tmp_path: Path) -> None:
    chance = random.Random(3)
    for _ in range(4):
        with start(tmp_path) as process:
            zygote_of(process)
            time.sleep(chance.uniform(0.0, 0.5))  # any moment will do
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
        psutil.wait_procs(family, timeout=1.0)
        assert alive(family) == []
