"""What listings say of names, by how their models stand."""

from msgspec import UNSET, Raw

from arriero.protocol.values import ModelStatus, Snapshot, State
from arriero.protocol.worker_config import (
    ModelAbilities,
    ModelRoute,
    PeerModel,
    PeerRoute,
    SelectorRoute,
    WorkerConfig,
)
from arriero.worker.apis.management.answers import EntryAbilities, EntryArchitecture
from arriero.worker.apis.model_names import ModelNames
from arriero.worker.progress.model_view import ProgressView
from arriero.worker.server.listings import Listings

CONFIG = WorkerConfig(
    generation=1,
    models=(ModelRoute(model="a", aliases=("a2",)), ModelRoute(model="b"), ModelRoute(model="c")),
    aliases_in_list=True,
    peers={"p": PeerRoute(peer="p", url="http://x")},
    peer_models={"p/m": PeerModel(peer="p", model="m")},
    selectors=(
        SelectorRoute(selector="pin", strategy="pin", targets=("b", "a")),
        SelectorRoute(selector="warm", strategy="warm", targets=("b", "a2"), name="W"),
        SelectorRoute(selector="spill", strategy="spillover", targets=("c", "b"), spillover=3),
        SelectorRoute(selector="hidden", strategy="pin", targets=("a",), unlisted=True),
    ),
)


def listings(config: WorkerConfig, **states: State) -> Listings:
    models = tuple(
        ModelStatus(model=model, state=state, since=0.0) for model, state in states.items()
    )
    view = ProgressView()
    view.restart(Snapshot(epoch="e", seq=0, t=0.0, models=models))
    return Listings(ModelNames(config), view, 5)


def test_each_name_has_the_state_of_its_model() -> None:
    cases: tuple[tuple[tuple[State, State, State], str], ...] = (
        (("ready", "stopped", "stopped"), "a a2 warm: loaded"),
        (("draining", "stopped", "starting"), "a a2 warm: loaded, c spill: loading"),
        (("stopped", "ready", "stopping"), "b pin spill warm: loaded"),
        (("asleep", "stopped", "stopped"), "a a2 warm: sleeping"),
        (("stopped", "stopped", "stopped"), ""),
    )
    for (a, b, c), shown in cases:
        found: dict[str, list[str]] = {}
        for entry in listings(CONFIG, a=a, b=b, c=c).models().data:
            found.setdefault(entry.status.value, []).append(entry.id)
        rest = found.pop("unloaded")

        assert ", ".join(f"{' '.join(ids)}: {value}" for value, ids in found.items()) == shown
        assert "p/m" in rest
        assert len(rest) + sum(map(len, found.values())) == 8


def test_selectors_say_how_they_choose() -> None:
    found = {entry.id: entry for entry in listings(CONFIG).models().data}

    assert list(found) == ["a", "a2", "b", "c", "p/m", "pin", "spill", "warm"]
    said = {key: bytes(value) for key, value in found["spill"].meta.llamaswap.items()}
    assert said == {
        "type": b'"selector"',
        "strategy": b'"spillover"',
        "targets": b'["c","b"]',
        "spillover": b"3",
    }
    assert found["warm"].name == "W"
    assert "spillover" not in found["warm"].meta.llamaswap


def test_each_ability_has_its_place() -> None:
    texts = ("text",)
    for able, abilities in (
        (ModelAbilities(takes=("text", "image"), gives=texts), EntryAbilities(vision=True)),
        (ModelAbilities(takes=("audio",), gives=texts), EntryAbilities(audio_transcriptions=True)),
        (ModelAbilities(takes=texts, gives=("audio",)), EntryAbilities(audio_speech=True)),
        (ModelAbilities(takes=texts, gives=("image",)), EntryAbilities(image_generation=True)),
        (
            ModelAbilities(takes=("image",), gives=("image",)),
            EntryAbilities(vision=True, image_to_image=True),
        ),
        (ModelAbilities(tools=True), EntryAbilities(function_calling=True)),
        (ModelAbilities(reranker=True), EntryAbilities(reranker=True)),
    ):
        model = ModelRoute(model="m", capabilities=able)
        (entry,) = listings(WorkerConfig(generation=1, models=(model,))).models().data

        assert entry.capabilities == abilities
        assert entry.supported_parameters == (("tools", "tool_choice") if able.tools else UNSET)
        assert entry.architecture == (
            EntryArchitecture(
                input_modalities=able.takes,
                output_modalities=able.gives,
                modality=f"{'+'.join(able.takes)}->{able.gives[0]}",
            )
            if able.gives
            else UNSET
        )
    for config in (
        WorkerConfig(generation=1, models=(ModelRoute(model="m"),)),
        WorkerConfig(
            generation=1,
            models=(ModelRoute(model="m", capabilities=ModelAbilities(context=9)),),
        ),
    ):
        (entry,) = listings(config).models().data
        assert entry.capabilities is entry.architecture is entry.supported_parameters is UNSET
        assert (entry.context_length, entry.meta.n_ctx) in ((UNSET, UNSET), (9, 9))


def test_a_name_that_several_peers_have_is_listed_once() -> None:
    peer_models = {f"{name}/far": PeerModel(peer=name, model="far") for name in ("p", "q")}
    config = WorkerConfig(
        generation=1,
        models=(ModelRoute(model="a"),),
        peers={name: PeerRoute(peer=name, url="http://x") for name in ("p", "q")},
        peer_models=peer_models | {"p/a": PeerModel(peer="p", model="a")},
        places={"far": ("p/far", "q/far"), "a": ("a", "p/a")},
    )
    ids = [entry.id for entry in listings(config).models().data]
    assert ids == ["a", "far", "p/a", "p/far", "q/far"]
    assert listings(config).model("far").meta.llamaswap["type"] == Raw(b'"peer"')


def test_names_of_peers_have_the_states_that_are_told() -> None:
    config = WorkerConfig(
        generation=1,
        models=(ModelRoute(model="a"),),
        peers={name: PeerRoute(peer=name, url="http://x") for name in ("p", "q")},
        peer_models={
            f"{peer}/{model}": PeerModel(peer=peer, model=model)
            for peer, model in (("p", "a"), ("p", "far"), ("q", "far"), ("q", "one"))
        }
        | {"one": PeerModel(peer="q", model="one")},
        places={"far": ("p/far", "q/far"), "a": ("a", "p/a")},
    )
    there: dict[str, State] = {"p/a": "ready", "q/far": "starting", "q/one": "asleep"}
    found = Listings(ModelNames(config), ProgressView(), 5, there)
    assert {one.id: one.status.value for one in found.models().data} == {
        "a": "unloaded",  # here: whoever asks for it may get it elsewhere
        "p/a": "loaded",
        "far": "loading",
        "p/far": "unloaded",
        "q/far": "loading",
        "q/one": "sleeping",
    }
    assert found.model("one").status.value == "sleeping"
