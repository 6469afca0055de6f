"""Every command on every page works: those of arriero and curl are run against a train.

What is new on a page is run, or is on a list here with the reason why it is not.
"""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from page_commands import PAGES, Command, commands, fences, inline_commands
from trains import Train

from arriero.supervisor.cli.main import arriero, main
from tests.paths import ROOT
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.e2e

# Blocks in other languages have no commands in them.
NO_COMMANDS = {"text", "yaml", "json", "mermaid", "nginx"}

# Why programs are not run here.
_ROOT_ONLY = "changes the system"
NOT_RUN = {
    "apt": _ROOT_ONLY,
    "export": "for a supervisor on another machine; tests/e2e/test_at_start.py asks one so",
    "install": _ROOT_ONLY,
    "journalctl": "needs a running systemd",
    "ln": _ROOT_ONLY,
    "pip": "tests/packaging installs what is built",
    "pipx": "the same",
    "podman": "what it makes is judged by linters, see tests/packaging",
    "python": "runs one test",
    "python3": "makes a venv, as `make` does",
    "ray": "needs a cluster; tests/cluster makes one",
    "rm": _ROOT_ONLY,
    "systemctl": "needs a running systemd; tests/deploy/test_units.py has the units judged",
    "systemd-sysusers": _ROOT_ONLY,
    "userdel": _ROOT_ONLY,
}

# Commands of arriero whose options are read, but that are not run.
ONLY_READ = {
    "restart": "refused without adopt; tests/e2e/test_adoption.py does it",
    "keygen": "writes where the key is wanted; tests/supervisor/cli/offline tries it",
    "chat": "somebody has to type; tests/e2e/test_terminal.py does",
    "serve": "a train is what runs all the time here",
}

EXIT_STATUSES = {"check": {0, 1}}  # 1: there are warnings

_HERE = re.compile(r"http://127\.0\.0\.1:8080\b")
_IDS = {"ID", "REQUEST_ID"}


def shell_blocks() -> Iterator[tuple[str, str]]:
    """Yield page and text of each block that is for a shell and that no other test runs."""
    for page in PAGES:
        for fence in fences((ROOT / page).read_text()):
            if fence.language == "sh" and not fence.is_script:
                yield page, fence.text


def read_options(command: Command) -> None:
    """Let click read a command of arriero.

    Raises:
        click.UsageError: It is none.
    """
    found: click.Command = arriero
    words = list(command.words[1:])
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        under = found.get_command(click.Context(found), words.pop(0))
        if under is None:
            raise click.UsageError(f"no such command: {command}")
        found = under
    if not isinstance(found, click.Group):
        found.make_context(command.words[1], words)


def test_every_block_is_in_a_language_of_which_is_known_what_to_do() -> None:
    for page in PAGES:
        for fence in fences((ROOT / page).read_text()):
            if fence.language in {"sh", "python"}:
                # Python is tested as a script, or not on a page.
                assert fence.language == "sh" or fence.is_script, (page, fence.text)
            else:
                assert fence.language in NO_COMMANDS, (page, fence)
                assert "\n$ " not in f"\n{fence.text}", (page, fence.text)
        assert (ROOT / page).read_text().count("\n```") == 2 * len(
            fences((ROOT / page).read_text())
        )


def test_every_program_is_run_or_has_a_reason() -> None:
    run = {"arriero", "curl", "make", "mkdir"}
    programs = {command.program for _, text in shell_blocks() for command in commands(text)}

    assert programs - run == set(NOT_RUN)
    assert programs >= run


def test_what_needs_root_has_sudo_before_it() -> None:
    needs = re.compile(r"(?<!-)/(etc|opt|var)\b(?!/arriero/bin/arriero)")
    for page, text in shell_blocks():
        for command in commands(text):
            words = command.words
            if command.program == "systemctl":
                needed = not {"status", "--user"} & set(words)
            else:
                needed = command.program in {
                    program for program, why in NOT_RUN.items() if why is _ROOT_ONLY
                } or any(needs.search(word) for word in words)
            if not any("~" in word for word in words):
                assert not needed or command.as_other, (page, str(command))


def test_every_target_of_make_is_there() -> None:
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    blocks = [command for _, text in shell_blocks() for command in commands(text)]
    inline = [found for page in PAGES for found in inline_commands((ROOT / page).read_text())]
    for command in (*blocks, *inline):
        if command.program == "make":
            targets = [word for word in command.words[1:] if "=" not in word]
            assert set(targets) <= there, str(command)


@pytest.mark.parametrize("page", PAGES)
def test_what_the_text_says_of_arriero_is_read_by_it(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FILE", "FILE.ini", "body.json"):
        (tmp_path / name).touch()
    for command in inline_commands((ROOT / page).read_text()):
        if command.program == "arriero":
            try:
                read_options(command)
            except click.exceptions.Exit:
                pass  # --help, --version
            except click.ClickException as exc:
                if isinstance(exc, click.MissingParameter) and len(command.words) == 2:
                    continue  # its name: what it takes is told elsewhere
                raise AssertionError(f"{command}: {exc.format_message()}") from exc


def test_what_is_no_command_would_be_found() -> None:
    for text in ("arriero stauts", "arriero status --jsn", "arriero scale", "arriero swap a b"):
        with pytest.raises(click.UsageError):
            read_options(*commands(text))
    [first, second] = commands("sudo -u me /x/arriero a \\\n  'b\nc' # d\nf > g | h i")[::2]
    assert first == Command(("/x/arriero", "a", "b\nc"), as_other=True)
    assert second == Command(("h", "i"))


@pytest.fixture(scope="module")
def ridden(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train with the models of the README."""
    return start_shared_train(
        {
            "models": {
                "qwen": {"cmd": scripted("--name", "qwen"), "aliases": ["gpt-4o-mini"]},
                "gemma": {"cmd": scripted("--name", "gemma")},
            }
        }
    )


@pytest.mark.parametrize("page", sorted({page for page, _ in shell_blocks()}))
def test_the_commands_of_a_page_work_in_their_order(
    page: str,
    ridden: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Those of arriero that come to an end by themselves are run in this process: it has them all.

    The others, which stand on each page that has any, are the program that is installed.
    """
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "models").mkdir(parents=True)
    here.mkdir()
    write_tiny_gguf(home / "models" / "tiny.gguf")
    finished = ridden.chat("qwen").headers["X-Request-Id"]
    monkeypatch.chdir(here)
    monkeypatch.setenv("ARRIERO_SOCKET_DIR", str(ridden.socket_dir))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    for of_page, text in shell_blocks():
        for command in commands(text) if of_page == page else ():
            if (args := arguments(command, home, ridden.url, finished)) is None:
                continue
            if "--follow" in args:
                follow(args, ridden)
                continue
            if args[0] == "arriero":
                status = main(args[1:])
            else:
                status = subprocess.run(args, timeout=50).returncode
            said = capfd.readouterr()
            allowed = EXIT_STATUSES.get(args[1], {0})
            assert status in allowed, f"{command}\n{said.out}\n{said.err}"


def arguments(command: Command, home: Path, url: str, request_id: str) -> list[str] | None:
    """Return what is run for `command`: in that home folder, against that train; None: nothing."""
    words = []
    for word in command.words:
        if word in _IDS or word.endswith("/REQUEST_ID"):
            word = word.removesuffix("REQUEST_ID").removesuffix("ID") + request_id
        words.append(_HERE.sub(url, re.sub("^~(?=/)", str(home), word)))
    match command.program:
        case "arriero":
            if words[1] in ONLY_READ:
                read_options(command)
                return None
            return ["arriero", *words[1:]]
        case "curl":
            assert url in " ".join(words), "a page asks this machine alone"
            return ["curl", "-sS", "--fail-with-body", "--max-time", "30", *words[1:]]
        case "mkdir":
            folders = [word for word in words[1:] if not word.startswith("-")]
            assert all(Path(folder).is_relative_to(home) for folder in folders)
            return words
    return None


def follow(args: list[str], train: Train) -> None:
    """Run what goes on for ever until it has said something, then end it as Ctrl-C does."""
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            for _ in range(40):
                train.chat("qwen")  # something to tell
                if select.select([process.stdout], [], [], 1)[0]:
                    break
            assert process.stdout.readline().strip(), args
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            assert process.returncode in {0, 130}, errors
        finally:
            process.kill()
