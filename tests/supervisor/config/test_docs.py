"""What is generated from the definitions is up to date, and says what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.supervisor.config.document import every_key
from tests.paths import ROOT

GENERATE = (sys.executable, str(ROOT / "docs" / "generate.py"))
PAGE = (ROOT / "docs" / "config-parity.md").read_text()
ROWS = {
    cells[0].removesuffix(" *own*").strip("`"): cells
    for line in PAGE.splitlines()
    if line.startswith("| `")
    and len(cells := [cell.strip() for cell in line[2:-2].split(" | ")]) == 5
}


def test_the_generated_files_are_up_to_date() -> None:
    checked = subprocess.run([*GENERATE, "--check"], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_key_is_on_the_page_once_with_all_that_is_to_be_known() -> None:
    leaves = {path: key for path, key in every_key() if not key.type.has_keys}
    spellings = {
        path.removesuffix(key.name) + name: key
        for path, key in leaves.items()
        for name in key.spellings
    }
    assert ROWS.keys() == spellings.keys()
    assert PAGE.count("\n| `") == len(ROWS) + PAGE.split("## What is different")[1].count("\n| `")
    for path, cells in ROWS.items():
        assert all(cells), path
        assert cells[3] == spellings[path].acts
    assert ROWS["models.<id>.ttl"][1:4] == ["seconds", "`-1`", "0.1"]
    assert ROWS["peers.<id>.proxy"][2] == "required"


def test_there_is_no_key_on_which_nothing_acts() -> None:
    assert [path for path, key in every_key() if key.is_idle] == []


def test_the_differences_are_on_the_page() -> None:
    differences = (ROOT / "docs" / "config-differences.md").read_text()
    assert PAGE.endswith(differences.split("-->\n\n", 1)[1])


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((#[^)]+)\)", PAGE))))
def test_links_lead_somewhere(link: str) -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    assert link[1:] in {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
    }


def test_what_is_stale_is_named_with_the_way_to_renew_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "generate.py").write_text((ROOT / "docs" / "generate.py").read_text())
    (docs / "config-differences.md").write_text("<!-- x -->\n\nnew\n")
    (docs / "config-parity.md").write_text("old")
    (docs / "metrics.md").write_text((ROOT / "docs" / "metrics.md").read_text())

    def run(*args: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(docs / "generate.py"), *args], capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    stale = "config.schema.json, docs/config-parity.md, docs/http-api.md"
    assert run("--check") == (1, f"not up to date: {stale}; run: make docs\n")
    assert (docs / "config-parity.md").read_text() == "old"
    assert run() == (0, "".join(f"wrote {name}\n" for name in stale.split(", ")))
    assert run("--check") == (0, "")
    assert (docs / "config-parity.md").read_text().endswith("\n\nnew\n")
