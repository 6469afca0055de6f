"""`arriero check`, run on files."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.supervisor.cli.main import main
from arriero.supervisor.cli.render.text import Table, fitted
from arriero.supervisor.config.lint.real_disk import RealDisk
from arriero.supervisor.config.load import load_config, parse_config

GOOD = f"models: {{a: {{cmd: '{sys.executable} -m server ${{PORT}}'}}}}\n"
WARNED = GOOD + "groups: {g: {members: []}}\n"
BROKEN = "modles: {}\nttl: x\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "config.yaml") -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    return name


# --- what it says ---------------------------------------------------------------------------------


def test_models_names_remarks_and_a_last_line_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    server = sys.executable
    write(f"""
startPort: 6000
macros: {{server: {server} -m server, idle: 1}}
sendLoadingState: true
models:
  qwen:
    cmd: ${{server}} --port ${{PORT}} --api-key geheim
    aliases: [q, gpt]
    ttl: 600
    strict: true
    unlisted: true
  fixed:
    cmd: |
      {server} -m server
      # of no account
      "two words"
    proxy: http://127.0.0.1:9000
  remote: {{cmd: {server} x, proxy: 'http://me:geheim@10.0.0.1:9000/v1', progress: off}}
  path: {{cmd: '{server} ${{PORT}}', proxy: 'http://localhost:${{PORT}}/v1'}}
groups:
  big: {{members: [qwen]}}
peers:
  cellar: {{proxy: 'http://me:geheim@cellar', models: [{", ".join(f"m{n}" for n in range(10))}]}}
  attic: {{proxy: 'http://attic', models: [qwen, {", ".join(f"n{n}" for n in range(7))}]}}
selectors:
  any: {{strategy: pin, targets: [qwen, m1]}}
profiles:
  night: {{pins: {{new: fixed, old: null}}}}
""")

    assert main(["check"]) == 1

    told = capsys.readouterr()
    assert told.err == ""
    *tables, notes, warnings, last = told.out.split("\n\n")
    rows = [re.split(" {2,}", row) for table in tables for row in table.splitlines()]
    assert rows == [
        ["MODEL", "ALIASES", "ANSWERS AT", "TTL", "MODE", "GROUP", "COMMAND"],
        ["qwen", "q, gpt", "6000+", "10 min 0 s", "reasoning, strict", "big",
         f"{server} -m server --port ${{PORT}} --api-key ***"],
        ["fixed", "-", "9000", "-", "reasoning", "-", f"{server} -m server 'two words'"],
        ["remote", "-", "http://***@10.0.0.1:9000/v1", "-", "off", "-", f"{server} x"],
        ["path", "-", "http://localhost:${PORT}/v1", "-", "reasoning", "-", f"{server} ${{PORT}}"],
        ["PEER", "PROXY", "MODELS"],
        ["cellar", "http://***@cellar", "m0, m1, m2, m3, m4, m5, m6, m7 and 2 more"],
        ["attic", "http://attic", "qwen, n0, n1, n2, n3, n4, n5, n6"],
        ["SELECTOR", "STRATEGY", "TARGETS"],
        ["any", "pin", "qwen, m1"],
        ["PROFILE", "PINS"],
        ["night", "new -> fixed, old -> nothing"],
    ]  # fmt: skip
    assert notes.startswith("notes:\nconfig.yaml:")
    assert warnings == (
        "warnings:\nconfig.yaml:24:43: peers.attic.models: 'qwen' is a model here, which comes "
        "first; ask for 'attic/qwen'"
    )
    assert last == "4 models, 1 warning\n"
    assert "geheim" not in told.out


@pytest.mark.parametrize(
    ("text", "status", "last"),
    [
        (GOOD, 0, "1 model, nothing is wrong"),
        (GOOD + "macros: {idle: 1}\n", 0, "1 model, nothing is wrong"),  # notes do not count
        (WARNED, 1, "1 model, 1 warning"),
        ("", 1, "0 models, 1 warning"),
        (f"workers: 1\n{BROKEN}", 2, "2 errors: this configuration cannot be used"),
        ("models: [", 2, "1 error: this configuration cannot be used"),
    ],
)
def test_the_exit_status_tells_warnings_from_errors(
    capsys: pytest.CaptureFixture[str], text: str, status: int, last: str
) -> None:
    assert main(["check", write(text)]) == status
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_all_errors_are_told_and_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"  m{number}: {{cmd: 'x ${{PORT}}', ttl: x}}\n" for number in range(100))

    assert main(["check", write(f"models:\n{text}")]) == 2

    head, *errors, blank, last = capsys.readouterr().out.splitlines()
    assert (head, blank, last) == ("errors:", "", "100 errors: this configuration cannot be used")
    assert [error.partition(" found ")[0] for error in errors] == [
        f"config.yaml:{number + 2}:{30 + len(str(number))}: models.m{number}.ttl:"
        for number in range(100)
    ]


def test_with_json_it_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    keys = (
        f"cmd: '{sys.executable} ${{PORT}} --api-key geheim', aliases: [b], ttl: 5, env: [K=geheim]"
    )

    assert main(["check", "--json", write(f"models: {{a: {{{keys}}}}}\ngroups: {{g: {{}}}}")]) == 1

    (line,) = capsys.readouterr().out.splitlines()
    assert "geheim" not in line
    assert json.loads(line) == {
        "ok": True,
        "models": [
            {
                "model": "a",
                "aliases": ["b"],
                "command": [sys.executable, "${PORT}", "--api-key", "***"],
                "proxy": "http://127.0.0.1:${PORT}",
                "answers_at": "5800+",
                "ttl_s": 5.0,
                "mode": "heartbeat",
                "group": "(default)",
            }
        ],
        "warnings": [
            {
                "file": "config.yaml",
                "line": 2,
                "column": 10,
                "path": "groups.g",
                "message": "the group has no members; add some, or remove it",
            }
        ],
        "errors": [],
        "notes": [],
    }


def test_a_configuration_is_written_as_it_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("config.yaml")
    path.write_text("macros: {p: 7}\nmodels: {a: {cmd: 'run --port ${PORT} -x ${p}'}}\n")
    assert main(["check", "--resolved"]) == 1  # there is no program called run
    written = capsys.readouterr().out
    assert "-x 7" in written
    assert parse_config(written, environ={}) == load_config(path, environ={})


def test_warnings_are_told_beside_errors(capsys: pytest.CaptureFixture[str]) -> None:
    text = "models: {a: {cmd: 'run ${PORT}', tll: 1}}\nhooks: {on_startup: {preload: [b]}}\n"
    Path("config.yaml").write_text(text)
    assert main(["check", "--strict"]) == 2
    told = capsys.readouterr().out
    assert "config.yaml:2:32: hooks.on_startup.preload: there is no model 'b'" in told
    assert "config.yaml:1:34: models.a: unknown key 'tll'; did you mean 'ttl'?" in told


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--strict", "--json", write(BROKEN)]) == 2

    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["models"], found["warnings"]) == (False, [], [])
    assert [(one["line"], one["column"]) for one in found["errors"]] == [(1, 1), (2, 1)]


def test_what_a_name_does_to_a_terminal_is_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    for strict, status in (["--strict"], 2), ([], 1):
        assert main(["check", *strict, write('"a\\e[2J": 1\nmodels: {}')]) == status
    assert "\x1b" not in capsys.readouterr().out


# --- which files ----------------------------------------------------------------------------------


def test_files_and_a_folder_are_one_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(GOOD, "a.yaml"), write(GOOD.replace("{a:", "{b:"), "b.yaml")]
    write(GOOD.replace("{a:", "{c:"), "more/c.yaml")

    assert main(["check", *files, "--config-dir", "more"]) == 0
    assert capsys.readouterr().out.endswith("3 models, nothing is wrong\n")
    assert main(["check", "--config-dir", "more"]) == 0
    assert capsys.readouterr().out.endswith("1 model, nothing is wrong\n")
    assert main(["check", files[0], files[0]]) == 2


def test_with_lenient_an_unknown_key_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    name = write(GOOD + "workers: 2\nproggress: off\n")

    assert main(["check", name]) == 2
    assert main(["check", "--lenient", name]) == 1
    assert capsys.readouterr().out.endswith("1 model, 1 warning\n")


def test_in_a_file_of_llama_swap_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    name = write(GOOD + "proggress: off\n")

    assert main(["check", name]) == 1
    told = capsys.readouterr().out
    assert "unknown key 'proggress'; nothing acts on it, did you mean 'progress'?" in told
    assert main(["check", "--strict", name]) == 2


def test_without_a_file_the_usage_is_told_with_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "there is no config.yaml in this folder" in told.err
    assert "arriero check config.yaml" in told.err


@pytest.mark.parametrize("args", [["nowhere.yaml"], ["--config-dir", "nowhere"]])
def test_what_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    assert main(["check", *args]) == 2
    assert "No such file or directory" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["check", "config.yaml"], ["check"]])
def test_a_pipe_is_refused_at_once(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    os.mkfifo("config.yaml")  # opening it would wait for a writer

    assert main(args) == 2
    assert "it is a pipe" in capsys.readouterr().out


def test_a_name_that_is_not_utf_8_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    folder = os.fsdecode(b"\xff")

    assert main(["check", "--config-dir", folder, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0]["file"] == "\\udcff"


# --- the machine ----------------------------------------------------------------------------------


def test_files_and_programs_are_looked_for_and_not_opened(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = folder / "llama-server"
    program.touch(0o755)
    os.mkfifo("pipe.gguf")
    write("", "here.gguf")
    model = "cmd: '{} --port ${{PORT}} -m {}'".format
    write(f"""
models:
  good: {{{model(program, folder / "here.gguf")}}}
  by_path: {{{model("llama-server", folder / "here.gguf")}, env: ['PATH={folder}']}}
  pipe: {{{model(program, folder / "pipe.gguf")}}}
  missing: {{{model(program, folder / "missing.gguf")}}}
  folder: {{{model(program, folder)}}}
  no_program: {{{model(folder / "here.gguf", folder / "here.gguf")}}}
""")

    assert main(["check", "--json"]) == 1

    found = json.loads(capsys.readouterr().out)["warnings"]
    assert [one["path"] for one in found] == [
        f"models.{model}.cmd" for model in ("pipe", "missing", "folder", "no_program")
    ]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "/proc/self/mem/x", ""])
def test_any_name_can_be_looked_for(name: str) -> None:
    assert not RealDisk().is_file(Path(name))
    assert not RealDisk().is_program(name, None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root sees everything")
def test_what_cannot_be_seen_is_not_said_to_be_missing(folder: Path) -> None:
    (folder / "closed").mkdir(0)

    assert RealDisk().is_file(folder / "closed" / "m.gguf")


# --- terminal -------------------------------------------------------------------------------------


def on_terminal(*args: str, **environ: str) -> list[str]:
    """Return the lines that the command writes on a terminal of 80 columns."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", "from arriero.supervisor.cli.main import main; main()", *args]
    given = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    with subprocess.Popen(command, stdout=theirs, env=os.environ | given | environ) as process:
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 4096):
                written += data
        except OSError:  # EIO: the last writer has closed its side
            pass
        process.wait(timeout=20)
    os.close(ours)
    return written.decode().splitlines()


def test_a_terminal_gets_colours_commands_of_its_width_and_whole_places(folder: Path) -> None:
    far = folder / ("x" * 90)
    far.write_text(f"models: {{a: {{cmd: '{sys.executable} {'word ' * 30}${{PORT}}'}}}}\nttls: 1\n")

    lines = on_terminal("check", "--lenient", str(far))

    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    head, row = (line for line in bare if line.startswith((" model", " a ")))
    assert head.split() == ["model", "answers", "at", "mode", "command"]
    assert row.endswith("… ")
    assert len(row) == 80
    assert any(line.startswith(f"{far}:2:1: unknown key 'ttls'") for line in bare)
    assert any(line.startswith("\x1b[33m") for line in lines)


def test_no_color_leaves_the_colours_out() -> None:
    lines = on_terminal("check", write(WARNED), NO_COLOR="1")

    assert not any("\x1b[3" in line for line in lines)
    assert "1 model, 1 warning" in lines[-1]


@pytest.mark.parametrize(
    ("width", "cell"),
    [(37, "0123456789" * 3), (36, "0123456789" * 2 + "01234567…"), (10, "0123456789012345678…")],
)
def test_the_last_column_is_cut_to_the_width(width: int, cell: str) -> None:
    table = Table(("a", "b", "c"), (("12", "-", "0123456789" * 3), ("1", "-", "x")))

    assert fitted(table, width) == Table(("a", "c"), (("12", cell), ("1", "x")))


@pytest.mark.parametrize(
    ("width", "head"),
    [
        (40, ("model", "b", "c", "last")),
        (30, ("model", "b", "c", "last")),  # 5 + 4 + 4 + 6 and the frames
        (26, ("model", "b", "last")),
        (22, ("model", "last")),
        (5, ("model", "last")),
    ],
)
def test_what_can_be_spared_goes_before_anything_is_cut(width: int, head: tuple[str, ...]) -> None:
    table = Table(
        ("model", "b", "c", "last"), (("m", "1234", "1234", "123456"),), spare=("c", "b"), least=6
    )

    found = fitted(table, width)

    assert found.head == head
    assert found.rows[0][-1] == "123456"


def test_a_table_without_rows_or_without_anything_in_them_stays() -> None:
    for table in (Table(("a",), (("-",),)), Table(("a",), ())):
        assert fitted(table, 10) == table


def test_help_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    assert "0 nothing is wrong, 1 there are warnings, 2 there are" in capsys.readouterr().out
