"""Files of the page: compressed in the best way that a client takes, read anew when changed."""

import gzip
from pathlib import Path

import pytest

from arriero.worker.ui.assets import FOLDER, Assets

LONG = "let x = 1;\n" * 100


def written(folder: Path) -> Assets:
    (folder / "lib").mkdir()
    (folder / "lib" / "a.js").write_text(LONG)
    (folder / "b.css").write_text("b{}")
    (folder / "notes.txt").write_text("not for browsers")
    return Assets(folder)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br; q=0.000", None),
        ("identity, *;q=0", None),
        ("gzip" * 10_000, None),
    ],
)
def test_the_best_coding_that_is_taken(tmp_path: Path, accepted: str, coding: str | None) -> None:
    assets = written(tmp_path)
    (tmp_path / "lib" / "a.js.br").write_bytes(b"brotli")
    (tmp_path / "lib" / "a.js.gz").write_bytes(b"gzip")
    found = assets.find(f"{assets.tree}/lib/a.js", accepted)

    assert found is not None
    assert dict(found.fields).get("Content-Encoding") == coding
    assert found.body == {"br": b"brotli", "gzip": b"gzip", None: LONG.encode()}[coding]


def test_a_checkout_compresses_when_asked(tmp_path: Path) -> None:
    assets = written(tmp_path)
    found = assets.find(f"{assets.tree}/lib/a.js", "br, gzip")
    small = assets.find(f"{assets.tree}/b.css", "br, gzip")

    assert found is not None
    assert gzip.decompress(found.body).decode() == LONG
    assert small is not None
    assert small.body == b"b{}"
    assert assets.names == ["b.css", "lib/a.js"]


def test_a_changed_file_has_another_name(tmp_path: Path) -> None:
    assets = written(tmp_path)
    before = assets.url("b.css")
    (tmp_path / "b.css").write_text("b{color:red}")
    assert assets.url("b.css") == before  # until somebody comes for the page
    other = Assets(tmp_path).url("b.css")  # which another worker has shown

    assert other != before
    assert assets.find(other.removeprefix("/ui/static/"), "") is not None
    assert assets.find(before.removeprefix("/ui/static/"), "") is None


def test_no_file_of_the_page_is_long_or_asks_elsewhere() -> None:
    for path in FOLDER.rglob("*.*"):
        text = path.read_text()
        assert text.count("\n") <= 400, path
        assert "innerHTML" not in text or path.name == "dom.js", path
        assert "http://" not in text.replace("http://www.w3.org/", ""), path
        assert "https://" not in text, path
