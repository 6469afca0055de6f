"""Installing the client for Node: once, whole or not at all, and a failure in words."""

import subprocess
from pathlib import Path

import pytest

from tests.judges import node_client
from tests.judges.node_client import NODE, ensure_node_client, last_words
from tests.real.fetch import PartsError


def test_what_is_there_is_not_installed_again(tmp_path: Path) -> None:
    installed: list[Path] = []

    first = ensure_node_client(tmp_path, install=installed.append)
    second = ensure_node_client(tmp_path, install=installed.append)

    assert first == second
    assert len(installed) == 1
    assert {path.name for path in first.iterdir()} == set(node_client.PINS)


def test_what_failed_half_way_is_not_taken_for_whole(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "node_modules").mkdir()
        raise PartsError("cannot install: the cable was cut")

    with pytest.raises(PartsError):
        ensure_node_client(tmp_path, install=fail)

    folder = ensure_node_client(tmp_path, install=lambda _: None)
    assert not (folder / "node_modules").exists()


def test_other_pins_go_into_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure_node_client(tmp_path, install=lambda _: None)
    other = tmp_path / "pins"
    other.mkdir()
    for name in node_client.PINS:
        (other / name).write_bytes((node_client.HERE / name).read_bytes() + b"\n")
    monkeypatch.setattr(node_client, "HERE", other)

    assert ensure_node_client(tmp_path, install=lambda _: None) != first


def test_a_folder_that_cannot_be_written_is_told_with_what_would_do(tmp_path: Path) -> None:
    (tmp_path / "judges").write_text("in the way")

    with pytest.raises(PartsError, match="ARRIERO_CACHE"):
        ensure_node_client(tmp_path, install=lambda _: None)


def test_failures_are_reported_in_one_line_and_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> Path:
        raise PartsError("cannot install: the cable was cut")

    monkeypatch.setattr(node_client, "ensure_node_client", fail)

    assert node_client.main([]) == 1
    assert capsys.readouterr() == ("", "judges: cannot install: the cable was cut\n")


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("npm error code E404\nnpm error 404 Not Found\n", "404 Not Found"),
        (
            "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error errno -111\n"
            "npm error FetchError: no way\n",
            "FetchError: no way",
        ),
        ("npm error A complete log of this run\n", "A complete log of this run"),
        ("", "npm failed without a word"),
    ],
)
def test_npm_s_last_words_are_the_cause_and_not_its_code(stderr: str, told: str) -> None:
    assert last_words(stderr) == told


def test_what_npm_cannot_install_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"dependencies": {"a": "1"}}')  # and nothing is locked

    with pytest.raises(PartsError, match=r"cannot install .*; look at the network"):
        node_client.npm(tmp_path)


def test_node_is_there_without_any_of_the_machine_s_own() -> None:
    done = subprocess.run([NODE, "--version"], capture_output=True, text=True, env={}, check=True)
    assert done.stdout.startswith("v2")
