"""Where models and llama-server are looked for."""

from pathlib import Path

import pytest

from arriero.supervisor.generate.places import find_server, usual_places

HOME, HERE = Path("/home/u"), Path("/work")


def folders(environ: dict[str, str], home: Path | None = HOME) -> list[str]:
    return [str(place.folder) for place in usual_places(environ, home, HERE)]


def test_the_usual_places_are_those_of_the_programs_that_fetch_models() -> None:
    assert [str(place) for place in usual_places({}, HOME, HERE)] == [
        "/work (its own files)",
        "/home/u/models",
        "/home/u/.cache/huggingface/hub (Hugging Face)",
        "/home/u/.cache/llama.cpp (llama.cpp)",
        "/home/u/.lmstudio/models (LM Studio)",
        "/home/u/.cache/lm-studio/models (LM Studio)",
        "/home/u/.ollama/models (Ollama)",
        "/usr/share/ollama/.ollama/models (Ollama)",
    ]


@pytest.mark.parametrize(
    ("environ", "there", "not_there"),
    [
        ({"HF_HOME": "/hf"}, "/hf/hub", "/home/u/.cache/huggingface/hub"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/c"}, "/c", "/hf/hub"),
        ({"LLAMA_CACHE": "/lc"}, "/lc", "/home/u/.cache/llama.cpp"),
        ({"OLLAMA_MODELS": "/om"}, "/om", "/usr/share/ollama/.ollama/models"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/llama.cpp", "/home/u/.cache/llama.cpp"),
        ({"HF_HOME": "not/absolute"}, "/work", "not/absolute/hub"),
    ],
)
def test_variables_say_otherwise(environ: dict[str, str], there: str, not_there: str) -> None:
    found = folders(environ)
    assert there in found
    assert not_there not in found


def test_a_user_without_a_home_has_the_system_s_places() -> None:
    assert folders({}, None) == ["/work", "/usr/share/ollama/.ollama/models"]


def test_llama_server_is_called_by_its_name_if_it_is_in_path() -> None:
    def found(in_path: bool, *there: str) -> str | None:
        return find_server(
            lambda name: f"/usr/bin/{name}" if in_path else None,
            lambda path: str(path) in there,
            Path("/venv/bin"),
            HOME,
        )

    built = "/home/u/llama.cpp/build/bin/llama-server"
    assert found(True, "/venv/bin/llama-server") == "llama-server"
    assert found(False, "/venv/bin/llama-server", built) == "/venv/bin/llama-server"
    assert found(False, built) == built
    assert found(False) is None
