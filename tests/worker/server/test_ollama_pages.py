"""What Ollama's clients are told of models."""

import msgspec
import pytest

from arriero.protocol.values import ModelStatus, Snapshot
from arriero.protocol.worker_config import (
    ModelAbilities,
    ModelRoute,
    PeerModel,
    PeerRoute,
    SelectorRoute,
    WorkerConfig,
)
from arriero.worker.apis.model_names import ModelNames
from arriero.worker.errors import UnknownModel
from arriero.worker.progress.model_view import ProgressView
from arriero.worker.server.ollama_pages import OllamaPages

CONFIG = WorkerConfig(
    generation=1,
    models=(
        ModelRoute(
            model="b",
            capabilities=ModelAbilities(takes=("text", "image"), gives=("text",), tools=True),
        ),
        ModelRoute(model="a", aliases=("other",)),
        ModelRoute(model="hidden", unlisted=True),
    ),
    peers={"p": PeerRoute(peer="p", url="http://p")},
    peer_models={"c": PeerModel(peer="p", model="c"), "p/c": PeerModel(peer="p", model="c")},
    selectors=(SelectorRoute(selector="some", strategy="warm", targets=("a", "b")),),
)


@pytest.fixture
def pages() -> OllamaPages:
    view = ProgressView()
    memory = {"ram": 3, "cuda0": 7}
    states = {"a": "stopped", "b": "ready", "hidden": "starting"}
    view.restart(
        Snapshot(
            epoch="e",
            seq=0,
            t=0.0,
            models=tuple(
                ModelStatus(model=name, state=state, since=0.0, memory=memory)  # type: ignore[arg-type]
                for name, state in states.items()
            ),
        )
    )
    return OllamaPages(ModelNames(CONFIG), view, 1_700_000_000)


def test_listed_names_are_sorted(pages: OllamaPages) -> None:
    found = msgspec.to_builtins(pages.tags())["models"]
    assert [it["name"] for it in found] == ["a", "b", "p/c", "some"]
    assert found[0] == {
        "name": "a",
        "model": "a",
        "modified_at": "2023-11-14T22:13:20Z",
        "size": 0,
        "digest": "",
        "details": {
            "parent_model": "",
            "format": "",
            "family": "",
            "families": (),
            "parameter_size": "",
            "quantization_level": "",
        },
    }


def test_running_models_say_their_memory(pages: OllamaPages) -> None:
    found = msgspec.to_builtins(pages.ps())["models"]
    assert [(it["name"], it["size"], it["size_vram"]) for it in found] == [
        ("b", 10, 7),
        ("hidden", 10, 7),
    ]


@pytest.mark.parametrize("name", ["a", "a:latest", "other", "some", "hidden", "c"])
def test_a_model_is_shown_by_any_name(pages: OllamaPages, name: str) -> None:
    assert pages.show(name).capabilities == ()


def test_declared_abilities_are_shown(pages: OllamaPages) -> None:
    assert pages.show("b").capabilities == ("completion", "tools", "vision")


@pytest.mark.parametrize("name", ["", "x", "x:latest", ":latest"])
def test_an_unknown_model_is_not_shown(pages: OllamaPages, name: str) -> None:
    with pytest.raises(UnknownModel):
        pages.show(name)
