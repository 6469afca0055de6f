import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.host.runtime_dir import (
    LOCK_NAME,
    find_runtime_dir,
    open_runtime_dir,
    open_state_dir,
    state_dir,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("explicit", "environ", "found"),
    [
        (Path("/a"), {"RUNTIME_DIRECTORY": "/b", "XDG_RUNTIME_DIR": "/c"}, Path("/a")),
        (None, {"RUNTIME_DIRECTORY": "/b", "XDG_RUNTIME_DIR": "/c"}, Path("/b")),
        (None, {"RUNTIME_DIRECTORY": "/b:/bb"}, Path("/b")),
        (None, {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "/c"}, Path("/c/arriero")),
        (None, {"TMPDIR": "/t"}, Path(f"/t/arriero-{os.geteuid()}")),
        (None, {}, Path(f"/tmp/arriero-{os.geteuid()}")),
    ],
)
def test_the_folder_is_the_chosen_one_then_systemds_then_the_sessions(
    explicit: Path | None, environ: dict[str, str], found: Path | None
) -> None:
    assert find_runtime_dir(explicit, environ) == found


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({"STATE_DIRECTORY": "/b:/bb", "XDG_STATE_HOME": "/c", "HOME": "/d"}, "/b"),
        ({"XDG_STATE_HOME": "/c", "HOME": "/d"}, "/c/arriero"),
        ({"HOME": "/d"}, "/d/.local/state/arriero"),
    ],
)
def test_state_is_kept_where_systemd_or_the_xdg_rules_say(
    environ: dict[str, str], found: str
) -> None:
    assert state_dir(environ) == Path(found)


def test_a_new_folder_is_private_and_stays(tmp_path: Path) -> None:
    with open_runtime_dir(None, {"XDG_RUNTIME_DIR": str(tmp_path)}) as folder:
        assert folder == tmp_path / "arriero"
        assert mode_of(folder) == 0o700
        assert mode_of(folder / LOCK_NAME) == 0o600

    assert folder.is_dir()


def test_without_any_hint_the_folder_has_a_name_that_clients_find(tmp_path: Path) -> None:
    with open_runtime_dir(None, {"TMPDIR": str(tmp_path)}) as folder:
        assert mode_of(folder) == 0o700
        assert folder == find_runtime_dir(None, {"TMPDIR": str(tmp_path)})


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r").chmod(mode)

    with (
        pytest.raises(SupervisorError, match=rf"others may write to it \(mode {mode:04o}\); run"),
        open_runtime_dir(tmp_path / "r", {}),
    ):
        pass


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)

    with (
        pytest.raises(SupervisorError, match=rf"belongs to user {uid}, not to {uid + 1}; choose"),
        open_runtime_dir(tmp_path, {}),
    ):
        pass


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").touch()

    with pytest.raises(SupervisorError, match=r"^cannot use"), open_runtime_dir(tmp_path / "r", {}):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SupervisorError, match=r"No such file or directory; choose another"),
        open_runtime_dir(tmp_path / "no" / "r", {}),
    ):
        pass


def test_a_second_supervisor_is_told_who_the_first_is(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from arriero.supervisor.host.runtime_dir import open_runtime_dir\n"
        "with open_runtime_dir(pathlib.Path(sys.argv[1]), {}): print(flush=True), input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with (
            pytest.raises(SupervisorError, match=rf"another supervisor .* id {first.pid}; stop it"),
            open_runtime_dir(tmp_path, {}),
        ):
            pass
        first.kill()
        first.wait()

        with open_runtime_dir(tmp_path, {}):  # a killed supervisor leaves no lock behind
            assert int((tmp_path / LOCK_NAME).read_text()) == os.getpid()


def test_the_state_belongs_to_one_supervisor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "new")}
    with open_state_dir(environ) as folder:
        assert (folder, mode_of(folder)) == (tmp_path / "new/arriero", 0o700)
        with (
            pytest.raises(
                SupervisorError,
                match=rf"^cannot use the folder {folder} for its state: another supervisor does, "
                rf"with process id {os.getpid()}; stop it, or choose another one with XDG_STATE_",
            ),
            open_state_dir(environ),
        ):
            pass
    with open_state_dir(environ) as folder:  # it is free again
        (folder / "sizes.json").touch()

    (tmp_path / "file").touch()
    with open_state_dir({"XDG_STATE_HOME": str(tmp_path / "file")}) as folder:  # nothing is kept
        assert not folder.exists()
    assert "state.not_locked" in caplog.text


def test_stale_sockets_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "control.sock"))

    with open_runtime_dir(tmp_path, {}):
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_NAME, "notes.txt"]


def test_the_sockets_of_a_running_supervisor_are_left_alone(tmp_path: Path) -> None:
    with open_runtime_dir(tmp_path, {}), socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "control.sock"))
        with pytest.raises(SupervisorError), open_runtime_dir(tmp_path, {}):
            pass

        assert (tmp_path / "control.sock").exists()


def test_a_path_that_is_too_long_for_a_socket_is_refused_early(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)

    with (
        pytest.raises(SupervisorError, match=r"bytes too long for unix sockets; choose another"),
        open_runtime_dir(folder, {}),
    ):
        pass
    assert not folder.exists()


def test_a_path_that_just_fits_can_hold_a_socket(tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(tmp_path / "control.sock"))
    with (
        open_runtime_dir(tmp_path / ("x" * (room - 1)), {}) as folder,
        socket.socket(socket.AF_UNIX) as control,
    ):
        control.bind(str(folder / "control.sock"))
