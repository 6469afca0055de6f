"""From a folder of GGUF files to the first answer of a real llama-server: one command."""

import os
import pty
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from trains import PATIENCE_S, Train

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.e2e


def models(train: Train) -> set[str]:
    listed = httpx.get(f"{train.url}/v1/models", timeout=PATIENCE_S).json()["data"]
    return {one["id"] for one in listed}


@pytest.mark.expects_errors("config.refused", "config.problem")
def test_a_folder_is_served_and_so_is_what_comes_into_it(
    start_train: Callable[..., Train], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write_tiny_gguf(folder / "first-F32.gguf")
    (folder / "cut.gguf").write_bytes(b"GGUF\x03\0\0\0")
    server = Path(ensure_llama_server()).parent
    leader, follower = pty.openpty()  # on a terminal it says what to try

    train = start_train(
        folder,
        *("--listen", "127.0.0.1:0", "--workers", "1"),
        environ={"PATH": f"{server}:{os.environ['PATH']}", "LLAMA_ARG_THREADS": "1"},
        stdout=follower,
    )
    os.close(follower)
    asked = {"max_tokens": 4, "messages": [{"role": "user", "content": "?"}]}
    answer = train.chat("first", **asked).json()

    assert answer["choices"][0]["message"]["content"]
    assert models(train) == {"first"}

    shutil.copy(folder / "first-F32.gguf", folder / "second.gguf")
    assert train.ask("reload")["changes"]["added"] == ["second"]
    assert models(train) == {"first", "second"}

    (folder / "first-F32.gguf").unlink()
    (folder / "second.gguf").unlink()
    refused = train.ask("reload")
    assert f"there is no model in {folder}" in refused["problems"][0]
    assert models(train) == {"first", "second"}  # what is in force stays so

    said = os.read(leader, 10_000).decode()
    os.close(leader)
    assert f"To write one down and change it: arriero init {folder}. " in said
    told = train.log.read_text()
    assert "models.found count=1" in told
    assert f"models.left_out {folder}/cut.gguf: it is broken" in told
