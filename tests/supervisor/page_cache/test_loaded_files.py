"""What a model loads, among files of all kinds."""

import os
from pathlib import Path

from arriero.supervisor.page_cache.loaded_files import MAX_FILES, loaded_files


def names(folder: Path, command: str) -> list[str]:
    found = loaded_files(["llama-server", *command.replace("@", f"{folder}/").split()], {})
    return [os.path.basename(file.path) for file in found]


def test_all_that_it_loads_and_each_once(tmp_path: Path) -> None:
    for name in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "p", "d", "l1", "l2"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to("d")
    command = "-m @m-00001-of-00002.gguf --mmproj @p -md @link --lora @l1,@d --lora-scaled @l2:0.5"

    assert names(tmp_path, command) == [
        "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "p", "link", "l1", "l2"
    ]  # fmt: skip
    (draft,) = (one for one in loaded_files(["llama-server", "-m", f"{tmp_path}/link"], {}))
    assert draft.size == 1


def test_only_regular_files_with_something_in_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "device").symlink_to("/dev/zero")

    for name in ("fifo", "folder", "empty", "loop", "gone", "device", "absent", "x\0y"):
        assert loaded_files(["llama-server", "-m", f"{tmp_path}/{name}"], {}) == ()


def test_not_more_than_so_many(tmp_path: Path) -> None:
    for part in range(1, MAX_FILES + 5):
        (tmp_path / f"m-{part:05d}-of-00300.gguf").write_bytes(b"x" * part)

    assert len(names(tmp_path, "-m @m-00001-of-00300.gguf")) == MAX_FILES
