"""The command `init`, as a user types it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.supervisor.cli.main import main
from arriero.supervisor.config.load import parse_config
from tests.real.tiny_gguf import write_tiny_gguf

POOR = {"COLUMNS": "40", "TERM": "dumb", "NO_COLOR": "1", "PYTHONIOENCODING": "ascii"}
INIT = [sys.executable, "-m", "arriero", "init"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a broken file, and an empty folder to be in."""
    folder = tmp_path / "models"
    folder.mkdir()
    write_tiny_gguf(folder / "Tiny F32.gguf")
    (folder / "broken.gguf").write_bytes(b"GGUF")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in [name for name in os.environ if name.startswith(("HF_", "LLAMA_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    return folder


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    status = main(["init", *map(str, args)])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_configuration_for_the_files_in_a_folder_is_written(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    status, out, err = run(capsys, folder)

    assert (status, out) == (0, "")
    text = Path("config.yaml").read_text()
    (model,) = parse_config(text, environ={}).models.values()
    assert (model.model, model.name, model.progress) == ("tiny", "random llama, tiny", "reasoning")
    assert model.aliases == ("tiny-f32",)
    assert model.description == "119.5 K parameters, F32, 0.5 MB, context up to 4,096"
    assert model.command[-4:] == ("-m", f"{folder}/Tiny F32.gguf", "-c", "4096")
    assert f"{folder}/broken.gguf: it is broken" in err
    assert f"#   {folder}/broken.gguf: it is broken" in text
    assert "wrote config.yaml" in err
    needs_server = "there is no llama-server" in err
    assert err.endswith(f"arriero: {'then' if needs_server else 'next'}: arriero serve\n")
    assert main(["check"]) in {0, 1}  # 1: there may be no llama-server


@pytest.mark.parametrize("how", [("--dry-run",), ("-o", "-")])
def test_to_stdout_goes_the_same_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], folder: Path, how: tuple[str, ...]
) -> None:
    status, out, err = run(capsys, folder, *how)

    assert status == 0
    assert list(parse_config(out, environ={}).models) == ["tiny"]
    assert "next:" not in err
    assert list(Path.cwd().iterdir()) == []


def test_what_is_there_is_replaced_only_by_force(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("models: {}")
    (tmp_path / "mine.yaml").chmod(0o640)
    Path("config.yaml").symlink_to(tmp_path / "mine.yaml")

    status, out, err = run(capsys, folder)
    kept = (tmp_path / "mine.yaml").read_text()
    forced, _, _ = run(capsys, folder, "--force")

    assert (status, out, kept, forced) == (1, "", "models: {}", 0)
    assert err == "arriero: config.yaml is there already; --force replaces it\n"
    assert Path("config.yaml").is_symlink()
    assert "tiny:" in Path("config.yaml").read_text()
    assert (tmp_path / "mine.yaml").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in Path.cwd().iterdir()] == ["config.yaml"]
    assert run(capsys, folder, "-o", tmp_path / "no" / "c.yaml")[0] == 1


def test_for_programs_it_is_json(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    status, out, _ = run(capsys, folder, "--json")

    told = json.loads(out)
    assert status == 0
    assert told["models"] == [
        {
            "model": "tiny", "aliases": ["tiny-f32"], "path": f"{folder}/Tiny F32.gguf",
            "kind": "text", "name": "random llama, tiny", "architecture": "llama", "quant": "F32",
            "parameters": 119_488, "size_bytes": 484_416, "context": 4096, "mmproj": None,
        }
    ]  # fmt: skip
    assert (told["written"], told["places"]) == ("config.yaml", [str(folder)])
    assert told["remarks"] == [
        f"{folder}/broken.gguf: it is broken, or cut short before its weights"
    ]
    assert set(told) == {"written", "llama_server", "places", "models", "remarks", "warnings"}


def test_without_models_nothing_is_written(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    for args in ([], [tmp_path / "here"]):
        status, out, err = run(capsys, *args)
        assert (status, out) == (1, "")
        assert f"there is no model in {tmp_path}/here" in err
    assert run(capsys, tmp_path / "nowhere")[0] == 2
    assert json.loads(run(capsys, "--json")[1])["written"] is None
    assert list(Path.cwd().iterdir()) == []


def test_on_a_terminal_it_asks_where_else(folder: Path) -> None:
    """The terminal is one that can show neither colours nor all characters."""
    (folder / "größe.gguf").write_bytes(b"GGUF")
    leader, follower = pty.openpty()
    asked = subprocess.Popen(
        INIT, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env=os.environ | POOR,
    )  # fmt: skip
    os.close(follower)
    said = b""
    try:
        for question, answer in ((b"A folder with", b"/nowhere"), (b"no folder /nowhere", folder),
                                 (b"Another folder", b"")):  # fmt: skip
            while question not in said:
                said += os.read(leader, 4096)
            said = said.partition(question)[2]
            os.write(leader, os.fsencode(answer) + b"\n")
        assert asked.wait(20) == 0
    finally:
        asked.kill()
        asked.wait()
        os.close(leader)
    assert list(parse_config(Path("config.yaml").read_text(), environ={}).models) == ["tiny"]
