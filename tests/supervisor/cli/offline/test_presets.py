"""The command `import`, as a user types it."""

from pathlib import Path

import pytest

from arriero.supervisor.cli.main import main
from arriero.supervisor.config.load import parse_config

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
