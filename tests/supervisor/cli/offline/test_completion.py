"""Shells complete: real ones, which ask the program that is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from arriero.supervisor.cli.completing import SUMMARIES
from arriero.supervisor.cli.main import COMMANDS, arriero, main

BIN = Path(sys.executable).parent

# Runs bash's function for a line with the cursor at its end, and prints what it offers.
BASH = r"""
eval "$(arriero completion bash)"
compopt() { echo "compopt $*"; }
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
_arriero_completion arriero
printf '%s\n' "${COMPREPLY[@]}"
"""
ZSH = r"""
compdef() { : }  # what it would register is called below
eval "$(arriero completion zsh)"
words=(${(z)1}) CURRENT=${#words}
[[ $1 == *' ' ]] && { words+=(''); CURRENT=${#words} }
compadd() { while [[ $1 == -* ]]; do [[ $1 == -V ]] && shift; shift; done; print -l -- ${(P)1} }
_describe() { print -l -- ${${(P)3}%%:*} }
_path_files() { print compopt }
_arriero_completion
"""
FISH = r"""
arriero completion fish | source
complete -C "$argv[1]" | string split -f1 \t
"""
SHELLS = {
    "bash": ["bash", "--norc", "-c", BASH, "bash"],
    "zsh": ["zsh", "-f", "-c", ZSH, "zsh"],
    "fish": ["fish", "--no-config", "-c", FISH],
}


def offered(shell: str, line: str, home: Path) -> list[str]:
    done = subprocess.run(
        [*SHELLS[shell], line],
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb"},
        cwd=home, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    return [word.strip() for word in done.stdout.split("\n") if word.strip()]


@pytest.mark.parametrize(
    "shell",
    ["bash", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("zsh", "fish"))],
)
def test_a_real_shell_completes_commands(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} on this machine")

    assert offered(shell, "arriero un", tmp_path) == ["unit", "unload", "unpin"]


def test_what_is_shown_of_a_command_is_its_help() -> None:
    context = click.Context(arriero)
    found = {name: arriero.get_command(context, name) for name in COMMANDS}
    assert {
        name: command.get_short_help_str(200) for name, command in found.items() if command
    } == SUMMARIES


@pytest.mark.nightly
def test_fish_shows_what_a_command_does(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("there is no fish on this machine")
    whole = FISH.replace(r" | string split -f1 \t", "")

    done = subprocess.run(
        ["fish", "--no-config", "-c", whole, "arriero pi"],
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"},
        cwd=tmp_path, capture_output=True, text=True, timeout=50,
    )  # fmt: skip

    assert done.stdout.splitlines()[0] == f"pin\t{SUMMARIES['pin']}"


def test_bash_offers_names_as_it_has_to_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    names = r"""arriero() { printf '%s\n' 'plain,llama3.2:1b' 'plain,llama3.2:$(x) *'; }"""
    ask = BASH.replace('eval "$(arriero completion bash)"', f"{script}\n{names}")

    done = subprocess.run(
        ["bash", "--norc", "-c", ask, "bash", "arriero swap llama3.2:"],
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip

    assert done.stdout.splitlines() == ["1b", r"\$\(x\)\ \*"]  # bash has the rest before its cursor


def test_without_a_name_the_shell_is_that_of_the_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert main(["completion"]) == 0
    assert "complete --no-files --command arriero" in capsys.readouterr().out
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert main(["completion"]) == 2
