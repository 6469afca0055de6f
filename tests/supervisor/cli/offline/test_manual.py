"""Pages for man(1) of every command, judged by what shows them."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from arriero.supervisor.cli.main import COMMANDS, main
from arriero.supervisor.cli.offline.manual import pages_of


def test_every_command_has_a_page_and_man_finds_no_mistake_in_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["man", "-o", str(tmp_path / "man1")]) == 0
    pages = sorted(path.name for path in (tmp_path / "man1").iterdir())

    assert {f"arriero-{name}.1" for name in COMMANDS} | {"arriero.1", "arriero-key-new.1"} < {
        *pages
    }
    assert f"wrote {len(pages)} pages" in capsys.readouterr().err
    judges = (["mandoc", "-Tlint", "-Werror"], ["groff", "-man", "-ww", "-z", "-Tutf8"])
    for judge in judges:
        if shutil.which(judge[0]) is None:
            print(f"not judged by {judge[0]}, which is not on this machine")
            continue
        done = subprocess.run(
            [*judge, *pages], cwd=tmp_path / "man1", capture_output=True, text=True, timeout=50
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_page_says_what_the_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man", "key", "new"]) == 0
    page = capsys.readouterr().out
    assert page.startswith('.TH "ARRIERO\\-KEY\\-NEW" 1')
    assert ".SH SEE ALSO\n.BR arriero\\-key (1)\n" in page
    assert main(["man", "kye"]) == 2
    assert main(["man", "serve", "-o", "x"]) == 2


def test_no_text_is_a_request_to_roff() -> None:
    @click.command("odd", help='.so /etc/passwd\n\n\'x \\fB "q"\n\n\b\n.sy id\n', epilog=".ex")
    def odd() -> None:
        pass

    pages = [text for name, text in _pages_of(odd) if name == "arriero-odd"]
    requests = {line.split()[0] for line in pages[0].splitlines() if line[:1] in {".", "'"}}

    assert requests <= {".TH", ".SH", ".B", ".PP", ".TP", ".nf", ".fi", ".BR"}
    assert "\\efB \\(dqq\\(dq" in pages[0]


def _pages_of(command: click.Command) -> list[tuple[str, str]]:
    group = click.Group("arriero", commands={"odd": command}, help="x")
    return list(pages_of(click.Context(group, info_name="arriero"), ("arriero",)))


def test_nothing_is_written_where_nothing_can_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    assert main(["man", "-o", str(tmp_path / "file" / "below")]) == 1
    assert re.search(r"cannot write \S+/below: Not a directory", capsys.readouterr().err)
