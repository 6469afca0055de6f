"""`arriero key`: makes keys that a configuration knows by their hashes."""

import io
import json
from pathlib import Path

import pytest

from arriero.supervisor.cli.main import main

MODELS = "models: {a: {cmd: 'run ${PORT}'}}\n"


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    status = main(["key", *args])
    written = capsys.readouterr()
    return status, written.out, written.err


def test_a_new_key_is_known_by_the_lines_that_are_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--scope", "read", "--model", "qwen*", "--concurrency", "2", "--daily-cost", "1.50")
    status, out, err = said(capsys, "new", "laptop", *options)
    key, _, lines = out.partition("\n")
    assert (status, "once" in err, key in lines) == (0, True, False)
    file = tmp_path / "config.yaml"
    file.write_text(f"{lines}apiKeys: [plain]\n{MODELS}")

    status, out, _ = said(capsys, "list", str(file))
    assert status == 0
    assert "laptop  read    qwen*   2          any           1.5" in out.replace("1.50", "1.5")
    assert "1 of apiKeys, called apiKeys:1, are good for everything" in out
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
    status, out, _ = said(capsys, "check", str(file), "--json")
    assert (status, json.loads(out)["name"], json.loads(out)["scopes"]) == (0, "laptop", ["read"])
    monkeypatch.setattr("sys.stdin", io.StringIO("plain\n"))
    assert json.loads(said(capsys, "check", str(file), "--json")[1])["name"] == "apiKeys:1"
    for other in ("arr-other", json.dumps(lines)):
        monkeypatch.setattr("sys.stdin", io.StringIO(other))
        status, out, err = said(capsys, "check", str(file))
        assert (status, out) == (1, "")
        assert "no key of this configuration is that one" in err
        assert other not in err


def test_a_new_key_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "new", "k", "--json")
    made = json.loads(out)

    assert status == 0
    assert made["lines"] == f'clientKeys:\n  "k":\n    hash: {made["hash"]}\n'
    assert made["key"].startswith("arr-")


@pytest.mark.parametrize(
    "args",
    [
        ("new", "a b"),
        ("new", "k", "--scope", "x"),
        ("new", "k", "--daily-cost", "nan"),
        ("new",),
    ],
)
def test_what_makes_no_key_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    status, out, _ = said(capsys, *args)
    assert (status, out) == (2, "")


def test_without_keys_that_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(MODELS)
    assert "there are no keys" in said(capsys, "list", str(file))[1]
