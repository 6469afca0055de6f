"""Pages name no file that is not there: those that they link to, and those in their text."""

import re
from pathlib import Path

import pytest

from tests.paths import ROOT

# The table of llama-swap's cases names tests, and has a test of its own.
PAGES = sorted(
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "deploy", ROOT / ".github")
    for page in folder.glob("*.md")
)
FOLDERS = "arriero|deploy|docs|protocol|requirements|supervisor|tests|worker"
NAMED = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./*-]*[\w*/]")
MODULE = re.compile(r"`(\w+\.py)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
MODULES = {
    path.name
    for folder in FOLDERS.split("|")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
}


def lost(page: Path, text: str) -> list[str]:
    """The files that `text`, which stands in `page`, names in vain."""
    return [
        *(name for name in NAMED.findall(text) if not any(ROOT.glob(name.rstrip("/")))),
        *(name for name in MODULE.findall(text) if name not in MODULES),
        *(link for link in LINK.findall(text) if not (page.parent / link).exists()),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert lost(page, page.read_text()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see `supervisor/no_such.py`", ["supervisor/no_such.py"]),
        ("see docs/no_such.md.", ["docs/no_such.md"]),
        ("in `no_such.py` and `app.py`", ["no_such.py"]),
        ("[there](docs/no_such.md#part)", ["docs/no_such.md", "docs/no_such.md"]),
        ("[there](no_such.md)", ["no_such.md"]),
        ("[here](README.md#part), tests/e2e, worker/*/stream.py, `Makefile`", []),
        ("[elsewhere](https://docs.example/no_such.md), my/docs/no_such.md", []),
    ],
)
def test_a_file_that_is_not_there_is_noticed(text: str, found: list[str]) -> None:
    assert lost(ROOT / "README.md", text) == found
