import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.llamacpp.model_files import model_files


def anything(path: Path) -> bool:
    return True


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ("", ""),
        ("-m a.gguf --port 1", "a.gguf"),
        ("--model a.gguf", "a.gguf"),
        ("--model=a.gguf -c 1", "a.gguf"),
        ("-md d.gguf --mmproj p.gguf -m a.gguf", "a.gguf p.gguf d.gguf"),
        ("-m a.gguf --model_draft d.gguf", "a.gguf d.gguf"),
        (
            "-m a.gguf --spec-draft-model d.gguf -mm p.gguf -mv v.gguf",
            "a.gguf p.gguf d.gguf v.gguf",
        ),
        ("-m a.gguf -m b.gguf", "b.gguf"),  # as in llama.cpp, the last one counts
        ("-m a.gguf -md a.gguf", "a.gguf"),
        ("-m", ""),
        ("-mu http://host/m.gguf --no-mmproj", ""),
        ("-c -m a.gguf", "a.gguf"),
        (
            "-m d/a-00002-of-00003.gguf",
            "d/a-00002-of-00003.gguf d/a-00001-of-00003.gguf d/a-00003-of-00003.gguf",
        ),
        ("-m a-00001-of-00001.gguf", "a-00001-of-00001.gguf"),
        ("-m a-00001-of-99999.gguf", "a-00001-of-99999.gguf"),
    ],
)
def test_a_command_names_the_files_that_it_loads(arguments: str, files: str) -> None:
    found = model_files(["llama-server", *arguments.split()], is_file=anything)

    assert found == tuple(Path(name) for name in files.split())


def test_the_environment_names_what_the_command_leaves_out() -> None:
    env = {"LLAMA_ARG_MODEL": "env.gguf", "LLAMA_ARG_MMPROJ": "p.gguf"}

    assert model_files(["s"], env=env, is_file=anything) == (Path("env.gguf"), Path("p.gguf"))
    assert model_files(["s", "-m", "a"], env=env, is_file=anything) == (Path("a"), Path("p.gguf"))


@given(st.lists(st.text() | st.sampled_from(["-m", "--model=", "a-00001-of-00002.gguf", "--"])))
def test_no_command_raises(command: list[str]) -> None:
    model_files(command, is_file=os.path.isfile)
