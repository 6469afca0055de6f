"""Real GGUF files, whole and broken, in real folders."""

import os
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.supervisor.generate.from_scan import FoundFile
from arriero.supervisor.generate.gguf_files import FileSearch, HeaderCache, SearchLimits
from arriero.supervisor.generate.places import SearchPlace
from arriero.supervisor.llamacpp.gguf import GgufError, read_head
from tests.examples import examples
from tests.real.tiny_gguf import write_tiny_gguf

FoundAll: TypeAlias = tuple[list[FoundFile], list[str]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


def found(folder: Path) -> tuple[list[str], list[str]]:
    """Return the files that are found and the remarks, relative to `folder`."""
    search = FileSearch(SearchLimits())
    files = [str(file.path.relative_to(folder)) for file in search.find([SearchPlace(folder)])]
    return files, [remark.replace(f"{folder}/", "") for remark in search.remarks]


def test_a_head_tells_what_the_file_says_and_how_large_it_has_to_be(tiny: Path) -> None:
    head = read_head(tiny)

    assert head.fields["general.name"] == "random llama, tiny"
    assert head.fields["llama.context_length"] == 4096
    assert (head.tensors, head.parameters, head.main_type) == (21, 119_488, "F32")
    assert head.needs_bytes == tiny.stat().st_size


def gguf(*parts: bytes, tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join(parts)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


BROKEN = {
    "empty": b"",
    "no gguf": b"PK\x03\x04 something else",
    "version 1": gguf(version=1),
    "version 9": gguf(version=9),
    "too many keys": gguf(keys=1 << 60),
    "too many tensors": gguf(tensors=1 << 60),
    "a text without an end": gguf(struct.pack("<Q", 1 << 62), keys=1),
    "a text that is cut": gguf(struct.pack("<Q", 900) + b"abc", keys=1),
    "a value that is cut": gguf(text(b"a"), struct.pack("<IQ", 8, 900) + b"abc", keys=1),
    "a text that is none": gguf(text(b"\xff\xfe"), struct.pack("<IB", 0, 1), keys=1),
    "an unknown type": gguf(text(b"a"), struct.pack("<I", 99), keys=1),
    "an endless list": gguf(text(b"a"), struct.pack("<IIQ", 9, 0, 1 << 62), keys=1),
    "a list of lists": gguf(text(b"a"), struct.pack("<IIQ", 9, 9, 1), keys=1),
    "a list of endless texts": gguf(text(b"a"), struct.pack("<IIQQ", 9, 8, 9, 1 << 62), keys=1),
    "many dimensions": gguf(text(b"a"), struct.pack("<I", 1 << 31), tensors=1),
    "no alignment": gguf(text(b"general.alignment"), struct.pack("<II", 4, 0), keys=1),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_and_nothing_else_happens(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)

    with pytest.raises(GgufError, match=r"^(it is|its format is|what it says)"):
        read_head(path)


def test_a_big_endian_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    key = struct.pack(">Q1sII", 1, b"a", 4, 7)
    path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + key)

    assert read_head(path).fields == {"a": 7}


@settings(max_examples=examples(80, 1000), deadline=None)
@given(st.data())
def test_any_damage_gives_a_head_or_one_error(tiny: Path, data: st.DataObject) -> None:
    whole = tiny.read_bytes()[:12_000]
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, 2000), max_size=5)):
        if at < len(damaged):
            damaged[at] = data.draw(st.integers(0, 255))
    path = tiny.with_name("damaged.gguf")
    path.write_bytes(damaged)

    with suppress(GgufError):
        read_head(path)


def test_a_long_vocabulary_is_walked_over_quickly(tmp_path: Path) -> None:
    """The package's own reader takes most of a minute and 1 GB for this."""
    path = tmp_path / "m.gguf"
    tokens = b"".join(text(b"tok%d" % number) for number in range(250_000))
    lists = [
        text(b"tokenizer.ggml.%s" % name) + struct.pack("<IIQ", 9, 8, 250_000) + tokens
        for name in (b"tokens", b"merges")
    ]
    path.write_bytes(gguf(*lists, text(b"general.file_type"), struct.pack("<II", 4, 15), keys=3))

    assert read_head(path).fields == {"general.file_type": 15}


def test_files_are_found_in_folders_and_each_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("z.gguf", "a/b/M.GGUF", "a/notes.txt", "blob"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "again.gguf").symlink_to("z.gguf")
    (tmp_path / "linked.gguf").symlink_to("blob")
    (tmp_path / "nowhere.gguf").symlink_to("x")
    os.mkfifo(tmp_path / "pipe.gguf")

    assert found(tmp_path) == (
        ["a/b/M.GGUF", "again.gguf", "linked.gguf", "z.gguf"],
        ["nowhere.gguf: cannot read it: No such file or directory"],
    )


def test_what_lies_too_deep_is_told(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 17)
    deep.mkdir(parents=True)
    (deep / "m.gguf").touch()

    assert found(tmp_path) == (
        [],
        [f"{'/'.join(['d'] * 17)}: it lies too deep, and was not looked at"],
    )


def test_a_name_that_no_configuration_can_hold_is_told(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf")).touch()

    assert found(tmp_path) == ([], [r"'\udcff.gguf': its name is not UTF-8; rename it"])


def test_a_download_that_has_not_ended_is_told(tmp_path: Path) -> None:
    names = ["a.gguf.part", "b.gguf.downloadInProgress", "c.gguf.incomplete"]
    for name in names:
        (tmp_path / name).touch()

    assert found(tmp_path) == ([], [f"{name}: it is still on its way" for name in names])


def test_a_file_that_went_away_or_is_broken_is_told(tmp_path: Path, tiny: Path) -> None:
    shutil.copy(tiny, tmp_path / "c.gguf")
    (tmp_path / "b.gguf").write_bytes(b"x")
    (tmp_path / "a.gguf").touch()
    search = FileSearch(SearchLimits())
    seen = search.find([SearchPlace(tmp_path)])
    (tmp_path / "a.gguf").unlink()

    gone, broken, whole = search.read(seen, {})

    assert gone.error == "cannot read it: No such file or directory"
    assert (broken.error, broken.size_bytes) == ("it is not a GGUF file", 1)
    assert whole.head == read_head(tiny)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.gguf")

    with pytest.raises(GgufError, match="it is no file"):
        read_head(tmp_path / "m.gguf")


def test_lists_of_texts_have_an_end_together(tmp_path: Path) -> None:
    lists = [struct.pack("<IIQ", 9, 8, count) for count in (2, 3_999_999)]
    data = gguf(text(b"a"), lists[0], bytes(16), text(b"b"), lists[1], keys=2)
    (tmp_path / "m.gguf").write_bytes(data)

    with pytest.raises(GgufError, match="lists of more than 4000000 texts"):
        read_head(tmp_path / "m.gguf")


def read(folder: Path, limits: SearchLimits, now: Callable[[], float] = lambda: 0.0) -> FoundAll:
    search = FileSearch(limits, now)
    files = list(search.read(search.find([SearchPlace(folder)]), {}))
    return files, search.remarks


def test_a_search_has_limits_and_tells_them(tmp_path: Path, tiny: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.gguf").hardlink_to(tiny)
    ticks = iter(range(1000))

    few, by_files = read(tmp_path, SearchLimits(files=4))
    some, by_entries = read(tmp_path, SearchLimits(entries=6))
    quick, by_time = read(tmp_path, SearchLimits(seconds=5), lambda: next(ticks))

    assert (len(few), len(some)) == (4, 6)
    left = f"{tmp_path}: the rest of it was left: "
    assert by_files == [f"{left}more than 4 GGUF files"]
    assert by_entries == [f"{left}it has more than 6 entries"]
    assert by_time == [f"{left}5 s are over"]
    assert {file.error for file in quick} == {"5 s were over before it was read"}


def test_what_was_read_once_is_not_read_again(tmp_path: Path, tiny: Path) -> None:
    shutil.copy(tiny, tmp_path / "m.gguf")
    search = FileSearch(SearchLimits())
    seen = search.find([SearchPlace(tmp_path)])
    before: HeaderCache = {}
    (first,) = search.read(seen, before)
    (tmp_path / "m.gguf").unlink()

    kept: HeaderCache = {}
    (again,) = search.read(seen, kept, before)

    assert (again.head, kept) == (first.head, before)
