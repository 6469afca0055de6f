"""The commands that make a configuration, as a user types them."""

import json
from pathlib import Path

import pytest

from arriero.supervisor.cli.main import main
from arriero.supervisor.config.load import parse_config
from tests.real.tiny_gguf import write_tiny_gguf

PRESETS = ("import", "llama-server-presets")


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    status = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return status, out, err


def test_presets_become_a_configuration_on_stdout_and_remarks_on_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "m.ini"
    path.write_text("[*]\nhost = 0.0.0.0\n[m]\nmodel = /m.gguf\n")

    status, out, err = run(capsys, *PRESETS, path)

    assert status == 0
    assert parse_config(out, environ={}).models["m"].command[-2:] == ("--model", "/m.gguf")
    assert err.startswith(f"arriero: {path}: line 2: host was left out")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "there is no model in"),
        (b"[a]\nc = 1\n", "section [a] was left out"),
        (b"\n\xff", "line 2: this is not UTF-8"),
        (b" " * (5 << 20), "is larger than 4 MB"),
    ],
)
def test_presets_that_cannot_be_used_are_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: bytes, told: str
) -> None:
    path = tmp_path / "m.ini"
    path.write_bytes(data)

    status, out, err = run(capsys, *PRESETS, path)

    assert (status, out) == (1, "")
    assert told in err


def test_a_scan_makes_a_configuration_of_the_files_in_a_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_tiny_gguf(tmp_path / "Tiny F32.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")

    status, out, err = run(capsys, "scan", tmp_path)

    assert status == 0
    (model,) = parse_config(out, environ={}).models.values()
    assert (model.model, model.name) == ("tiny", "random llama, tiny")
    assert model.aliases == ("tiny-f32",)
    assert model.description == "119.5 K parameters, F32, 0.5 MB, context up to 4,096"
    assert model.command[-4:] == ("-m", f"{tmp_path}/Tiny F32.gguf", "-c", "4096")
    assert f"{tmp_path}/broken.gguf: it is broken" in err
    assert f"#   {tmp_path}/broken.gguf: it is broken" in out


def test_a_scan_for_programs_is_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "t.gguf")

    status, out, _ = run(capsys, "scan", tmp_path, "--json")

    assert status == 0
    assert json.loads(out) == {
        "models": [
            {
                "model": "t", "alias": None, "path": f"{tmp_path}/t.gguf", "kind": "text",
                "name": "random llama, tiny", "architecture": "llama", "quant": "F32",
                "parameters": 119_488, "size_bytes": 484_416, "context": 4096, "mmproj": None,
            }
        ],
        "remarks": [],
    }  # fmt: skip


def test_a_new_file_is_written_and_one_that_is_there_is_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_tiny_gguf(tmp_path / "t.gguf")
    output = tmp_path / "config.yaml"

    assert run(capsys, "scan", tmp_path, "-o", output)[:2] == (0, "")
    written = output.read_text()
    status, out, err = run(capsys, "scan", tmp_path, "-o", output)

    assert parse_config(written, environ={}).models["t"].progress == "reasoning"
    assert (status, out, output.read_text()) == (1, "", written)
    assert "is there already" in err
    assert run(capsys, "scan", tmp_path, "-o", tmp_path / "no" / "c.yaml")[0] == 1


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_models_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: str
) -> None:
    (tmp_path / "empty").mkdir()

    status, out, err = run(capsys, "scan", tmp_path / folder)

    assert (status, out) == (1, "")
    assert str(tmp_path / folder) in err


@pytest.mark.parametrize("command", [("import",), PRESETS, ("scan",)])
def test_every_help_has_words_of_its_own(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    status, out, _ = run(capsys, *command, "--help")

    assert status == 0
    assert "Example:  arriero" in out
