import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.config import sources as config_sources
from arriero.supervisor.config.sources import find_sources, read_source
from arriero.supervisor.config.yaml.tree import MAX_BYTES
from arriero.supervisor.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "conf.d"
    path.mkdir()
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("a: 1\n")


def refusal(files: list[Path], directory: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        find_sources(files, directory)
    return "\n".join(str(problem) for problem in caught.value.problems)


def unreadable(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_source(path)
    (problem,) = caught.value.problems
    return str(problem)


# --- which files ----------------------------------------------------------------------------------


def test_named_files_keep_their_order_and_need_not_be_there() -> None:
    files = (Path("b.yaml"), Path("a.conf"))
    assert find_sources(files, None) == files


def test_the_files_of_a_folder_come_after_the_named_ones_by_name(
    folder: Path, tmp_path: Path
) -> None:
    touch(folder, "b.yaml", "10.yml", "9.yaml", "a.yml", "B.yaml")
    named = tmp_path / "z.yaml"
    assert find_sources([named], folder) == (
        named, *(folder / name for name in ("10.yml", "9.yaml", "B.yaml", "a.yml", "b.yaml")),
    )  # fmt: skip


def test_only_yaml_files_that_are_not_hidden_are_taken_from_a_folder(folder: Path) -> None:
    touch(
        folder, "a.yaml", "b.json", "c.yaml~", "d.yaml.bak", ".e.yaml", "f.YAML", "#g.yaml#", "yaml"
    )
    (folder / "sub.yaml").mkdir()
    touch(folder / "sub.yaml", "inner.yaml")
    (folder / ".#a.yaml").symlink_to("somebody@somewhere.123")
    assert find_sources([], folder) == (folder / "a.yaml",)


def test_a_mounted_config_map_is_read_through_its_links_once(folder: Path) -> None:
    version = folder / "..2026_01_01"
    version.mkdir()
    touch(version, "a.yaml")
    (folder / "..data").symlink_to(version.name)
    (folder / "a.yaml").symlink_to("..data/a.yaml")
    assert find_sources([], folder) == (folder / "a.yaml",)


@pytest.mark.parametrize("target", ["nowhere", "dangling.yaml"])
def test_a_link_that_leads_nowhere_is_found_so_that_reading_it_tells_why(
    folder: Path, target: str
) -> None:
    (folder / "dangling.yaml").symlink_to(target)  # to itself, too
    (path,) = find_sources([], folder)
    assert "cannot read it: " in unreadable(path)


def test_without_a_file_and_a_folder_the_error_names_both_flags() -> None:
    told = refusal([])
    assert "--config:" in told
    assert "--config-dir" in told


def test_a_folder_without_yaml_files_is_an_error(folder: Path) -> None:
    touch(folder, "readme.md", ".hidden.yaml")
    assert refusal([], folder).startswith(f"{folder}: there is no *.yaml or *.yml file")


def test_a_folder_without_yaml_files_is_fine_next_to_a_file(folder: Path) -> None:
    assert find_sources([Path("a.yaml")], folder) == (Path("a.yaml"),)


def test_a_folder_that_cannot_be_read_is_an_error_even_next_to_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    assert refusal([Path("a.yaml")], tmp_path / "no") == (
        f"{tmp_path}/no: cannot read the folder: No such file or directory"
    )
    assert refusal([], tmp_path / "file").endswith("cannot read the folder: Not a directory")


def test_a_file_that_also_lies_in_the_folder_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(folder, "a.yaml", "b.yaml")
    monkeypatch.chdir(folder.parent)
    assert refusal([Path("./conf.d/a.yaml")], folder) == (
        f"{folder}/a.yaml: this file is read already, as conf.d/a.yaml; leave one of them out"
    )


def test_links_do_not_hide_that_a_file_is_read_twice(folder: Path, tmp_path: Path) -> None:
    touch(folder, "a.yaml")
    (tmp_path / "link.yaml").symlink_to(folder / "a.yaml")
    (tmp_path / "other.d").symlink_to(folder)
    assert "is read already" in refusal([tmp_path / "link.yaml"], folder)
    assert "is read already" in refusal([folder / "a.yaml"], tmp_path / "other.d")


def test_a_file_that_is_named_twice_is_an_error() -> None:
    path = Path("a.yaml")
    assert refusal([path, path, Path("b.yaml"), path]).count("is read already") == 2


def test_a_file_that_cannot_be_named_in_a_message_is_an_error(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.yaml")).touch()
    told = refusal([], folder)
    assert "this name is not UTF-8" in told
    assert told.isprintable()


# --- what is in them ------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"a: \xc3\xa4\n", b"\xef\xbb\xbfa: \xc3\xa4\n"])
def test_a_file_is_utf_8_with_or_without_a_mark(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    assert read_source(tmp_path / "a.yaml") == "a: ä\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_is_not_utf_8_is_told_with_its_place(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(mark + b"a: 1\nb: \xc3\xa4\xff")
    assert unreadable(path) == f"{path}:2:5: cannot read it: this is not UTF-8; save it as UTF-8"
    path.write_bytes(mark + b"\xff")
    assert unreadable(path).startswith(f"{path}:1:1: ")


def test_a_file_as_large_as_may_be_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_source(path)) == MAX_BYTES


def test_a_file_of_100_mb_is_refused_without_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    monkeypatch.delattr(os, "open")
    assert unreadable(path) == f"{path}: cannot read it: it is larger than 8 MB"


def test_a_file_that_is_larger_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_sources, "MAX_BYTES", 10)
    path = Path("/proc/self/status")  # its size is 0
    assert unreadable(path) == f"{path}: cannot read it: it is larger than 0 MB"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "no.yaml"
    assert unreadable(path) == f"{path}: cannot read it: No such file or directory"


def test_a_folder_is_no_file(folder: Path) -> None:
    assert "it is a folder; a folder of files is given with --config-dir" in unreadable(folder)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    os.mkfifo(path)  # opening it would wait for a writer
    assert "it is a pipe" in unreadable(path)


def test_a_file_that_becomes_a_pipe_before_it_is_opened_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "a.yaml", tmp_path / "file"
    os.mkfifo(path)
    touch(tmp_path, "file")
    status = os.stat(file)
    monkeypatch.setattr(os, "stat", lambda _: status)
    assert "it is a pipe" in unreadable(path)


def test_a_socket_and_a_device_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.yaml")
        assert "it is a socket" in unreadable(Path("s.yaml"))
    assert "it is a device" in unreadable(Path("/dev/zero"))


@given(st.binary(max_size=20))
def test_any_bytes_are_a_text_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    try:
        text = read_source(path)
    except ConfigError:
        text = None
    try:
        meant = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        meant = None
    assert text == meant
