import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arriero.protocol.records import Prices
from arriero.protocol.worker_config import (
    ModelRoute,
    PeerModel,
    PeerRoute,
    ProfileRoute,
    SelectorRoute,
    WorkerConfig,
)
from arriero.worker.apis.model_names import (
    BodyFields,
    Detour,
    ModelNames,
    Target,
    asks_for_prefill_itself,
    read_body,
)
from arriero.worker.apis.routes import MESSAGES
from arriero.worker.errors import BadRequest, UnknownModel

QWEN = ModelRoute(model="qwen3", aliases=("gpt-4", "gemma"))
GEMMA = ModelRoute(model="gemma")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b'{"model":"m"}', BodyFields("m", stream=False)),
        (b'{"model":"m","stream":true}', BodyFields("m", stream=True)),
        (b'{"stream":null,"x":[{"model":3}],"model":"m"}', BodyFields("m", stream=False)),
        (b' {"model" : "\\u006d"}\n', BodyFields("m", stream=False)),
        (b"{}", BodyFields("", stream=False)),
        (b'{"model":""}', BodyFields("", stream=False)),
        (b'{"model":null,"stream":true}', BodyFields("", stream=True)),
    ],
)
def test_only_model_and_stream_are_read(body: bytes, asked: BodyFields) -> None:
    assert read_body(body) == asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"m"',
        b'{"model":"\xff"}',
        b'{"model":"m"}x',
    ],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^cannot"):
        read_body(body)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"model":1}', "'model' must be a text, found a number"),
        (b'{"model":["m"]}', "'model' must be a text, found a list"),
        (b'{"model":{}}', "'model' must be a text, found an object"),
        (b'{"model":true}', "'model' must be a text, found true or false"),
        (b'{"model":"m","stream":"yes"}', "'stream' must be true or false, found a text"),
        (b'{"model":"m","stream":1}', "'stream' must be true or false, found a number"),
        (b'{"model":"m","stream":1.5}', "'stream' must be true or false, found a number"),
        (b"[]", "it must be an object, found a list"),
        (b"null", "it must be an object, found nothing"),
        (b'"m"', "it must be an object, found a text"),
    ],
)
def test_a_wrong_type_is_told_in_words(body: bytes, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_body(body)
    assert str(caught.value) == f"cannot read the body: {told}"


def test_without_a_model_the_only_one_is_meant() -> None:
    one = WorkerConfig(generation=1, models=(GEMMA,))
    assert ModelNames(one).sole == "gemma"
    pin = SelectorRoute(selector="s", strategy="pin", targets=("gemma",))
    peer = PeerRoute(peer="p", url="http://h")
    several = (
        replace(one, models=()),
        replace(one, models=(GEMMA, ModelRoute(model="other"))),
        replace(one, selectors=(pin,)),
        replace(one, profiles=(ProfileRoute(profile="p", pins={"x": "gemma"}),), profile="p"),
        replace(one, peers={"p": peer}, peer_models={"x": PeerModel(peer="p", model="x")}),
    )
    assert [ModelNames(config).sole for config in several] == [None] * len(several)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        read_body(body)


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"thinking":{"type":"enabled","budget_tokens":1024}}', True),
        (b'{"thinking":{"type":"adaptive"}}', True),
        (b'{"thinking":{"type":"disabled"}}', False),
        (b'{"thinking":{}}', False),
        (b'{"thinking":null}', False),
        (b'{"thinking":true}', False),
        (b'{"thinking":{"type":7}}', False),
        (b'{"messages":[{"thinking":{"type":"enabled"}}]}', False),
        (b"{", False),
    ],
)
def test_thinking_is_asked_for_at_the_top_and_not_disabled(body: bytes, asks: bool) -> None:
    assert MESSAGES.wants_thinking(body) is asks


def test_an_id_goes_before_an_alias() -> None:
    names = ModelNames(WorkerConfig(generation=1, models=(QWEN, GEMMA)))

    assert names.find("gemma") == Target(GEMMA)
    assert names.find("gpt-4") == Target(QWEN)
    assert names.find("qwen3") == Target(QWEN)


def test_an_unknown_name_is_told_what_looks_like_it() -> None:
    names = ModelNames(WorkerConfig(generation=1, models=(QWEN, GEMMA)))

    with pytest.raises(UnknownModel) as caught:
        names.find("qwen")

    assert caught.value.message == "cannot find a model named 'qwen'; did you mean 'qwen3'?"


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, ""),
        (1, "; there is 'a0'"),
        (2, "; there are 'a0' and 'a1'"),
        (9, "; there are 'a0', 'a1', 'a2', 'a3', 'a4', 'a5' and others"),
    ],
)
def test_a_name_like_none_is_told_some_of_those_there_are(count: int, told: str) -> None:
    models = tuple(
        replace(QWEN, model=f"a{number}", aliases=(f"b{number}",)) for number in range(count)
    )
    names = ModelNames(WorkerConfig(generation=1, models=models))

    with pytest.raises(UnknownModel) as caught:
        names.find("zzz")

    assert caught.value.message == f"cannot find a model named 'zzz'{told}"


PEER = PeerRoute(peer="cloud", url="https://x", kind="openai", prices={"gpt-x": Prices()})


def peered(**names: str) -> ModelNames:
    models = {name: PeerModel(peer="cloud", model=model) for name, model in names.items()}
    return ModelNames(
        WorkerConfig(generation=1, models=(QWEN, GEMMA), peers={"cloud": PEER}, peer_models=models)
    )


def test_a_name_of_a_peer_leads_there_under_its_own_name() -> None:
    route, peer, detour = peered(big="gpt-x").find("big")

    assert (peer, detour) == (PEER, None)
    assert (route.model, route.send_as, route.prices) == ("cloud/gpt-x", "gpt-x", Prices())


def test_models_here_go_before_those_of_peers() -> None:
    assert peered(qwen3="gpt-x").find("qwen3") == Target(QWEN)


def test_whoever_names_no_model_gets_the_first_one() -> None:
    assert ModelNames(WorkerConfig(generation=1, models=(QWEN, GEMMA))).first() == QWEN.model
    with pytest.raises(UnknownModel):
        ModelNames(WorkerConfig(generation=1, models=())).first()


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"return_progress":true}', True),
        (b'{"return_progress":false}', False),
        (b'{"return_progress":"yes"}', False),
        (b'{"text":"return_progress"}', False),
        (b"{}", False),
    ],
)
def test_some_clients_ask_for_the_progress_of_the_prompt_themselves(
    body: bytes, asks: bool
) -> None:
    assert asks_for_prefill_itself(body) is asks


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ('"5m"', 300.0),
        ('"1h30m"', 5400.0),
        ('"250ms"', 0.25),
        ("0", 0.0),
        ('"0s"', 0.0),
        ("-1", None),
        ('"-1m"', None),
        ("null", None),
    ],
)
def test_a_keep_alive_is_read_as_ollama_reads_it(text: str, seconds: float | None) -> None:
    body = b'{"model":"m","keep_alive":%b}' % text.encode()
    assert read_body(body).keep_s == seconds


@pytest.mark.parametrize(
    "text", ['"5"', '"soon"', "true", "[]", "{}", '""', '"5m "', f'"{"9" * 100}s"', "1e999"]
)
def test_another_keep_alive_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_body(b'{"model":"m","keep_alive":%b}' % text.encode())


# --- selectors and profiles -----------------------------------------------------------------------

WARM = SelectorRoute(selector="warm", strategy="warm", targets=("gpt-4", "gemma"))
FIXED = SelectorRoute(selector="fixed", strategy="pin", targets=("gpt-4",))
NIGHT = ProfileRoute(profile="night", pins={"gpt-4": "gemma", "x": "warm", "gemma": None})


def named(profile: str | None = None) -> ModelNames:
    return ModelNames(
        WorkerConfig(
            generation=1,
            models=(QWEN, GEMMA),
            selectors=(WARM, FIXED),
            profiles=(NIGHT,),
            profile=profile,
        )
    )


def test_a_selector_sends_the_name_of_its_target() -> None:
    fixed, warm = named().find("fixed"), named().find("warm")

    assert (fixed.route.model, fixed.route.send_as, fixed.detour) == ("qwen3", "gpt-4", None)
    assert warm.detour == Detour("warm")
    assert named().find_chosen("gemma").detour is None


def test_pins_go_first_and_do_not_chain() -> None:
    names = named("night")

    assert names.find("gpt-4").route.model == "gemma"
    assert names.find("x").detour == Detour("warm")
    assert names.find_chosen("gpt-4").route.model == "qwen3"
    assert names.find("qwen3") == Target(QWEN)
    assert list(names.pins()) == ["x"]
    with pytest.raises(UnknownModel, match="the profile 'night' has it switched off"):
        names.find("gemma")


def test_without_a_profile_nothing_is_pinned() -> None:
    assert named().find("gemma") == Target(GEMMA)
    assert named("gone").pins() == {}


SLASHES = WorkerConfig(
    generation=1,
    models=(
        ModelRoute(model="org"),
        ModelRoute(model="org/m", aliases=("a/b/c",)),
        ModelRoute(model="org/off"),
    ),
    peers={"cloud": PEER},
    peer_models={name: PeerModel(peer="cloud", model="v/x") for name in ("cloud/v/x", "v/x")},
    profiles=(ProfileRoute(profile="p", pins={"org/off": None, "org/new": "org"}),),
    profile="p",
)


def test_the_longest_name_begins_a_path() -> None:
    split = ModelNames(SLASHES).split

    for path, model, rest in (
        (b"org/x", "org", b"/x"),
        (b"org", "org", b""),
        (b"org/m/x%2Fy//z", "org/m", b"/x%2Fy//z"),
        (b"org%2Fm/m", "org/m", b"/m"),
        (b"org/mm", "org", b"/mm"),
        (b"a/b/c/", "a/b/c", b"/"),
        (b"cloud/v/x/v1/models", "cloud/v/x", b"/v1/models"),
        (b"cloud%2Fv%2Fx", "cloud/v/x", b""),
        (b"v/x/y", "v/x", b"/y"),
        # one that is switched off is no path of a shorter name
        (b"org/off/x", "org/off", b"/x"),
        (b"org/new/x", "org/new", b"/x"),
        (b"none/x/y", "none", b"/x/y"),
    ):
        assert split(path) == (model, rest), path


def test_profiles_change_no_model_itself() -> None:
    names = named("night")

    assert names.find_unpinned("gpt-4") == Target(QWEN)
    assert names.find_unpinned("gemma") == Target(GEMMA)
    assert names.find_unpinned("warm").detour == Detour("warm")
    for name in ("x", "nobody"):  # of the profile alone, and of nobody
        with pytest.raises(UnknownModel):
            names.find_unpinned(name)
    names.keep_only(["gpt-4", "w*"])
    assert names.find_unpinned("gpt-4") == Target(QWEN)
    with pytest.raises(UnknownModel):
        names.find_unpinned("gemma")


def test_an_own_model_has_that_very_id() -> None:
    names = ModelNames(SLASHES)

    assert names.find_own("org").route.model == "org"
    assert names.find_own("org/off").route.model == "org/off"
    for other in ("a/b/c", "v/x", "cloud/v/x", "org/new", "none"):
        with pytest.raises(UnknownModel):
            names.find_own(other)


# --- models that several machines have ------------------------------------------------------------

SPREAD = WorkerConfig(
    generation=1,
    models=(ModelRoute(model="qwen", aliases=("gpt-4",)), ModelRoute(model="own")),
    peers={name: PeerRoute(peer=name, url=f"http://{name}") for name in ("box2", "box3")},
    peer_models={
        name: PeerModel(peer=name.split("/")[0], model=name.split("/")[-1])
        for name in ("box2/qwen", "box2/far", "box3/far")
    },
    places={"qwen": ("qwen", "box2/qwen"), "far": ("box2/far", "box3/far")},
    selectors=(
        SelectorRoute(selector="pin", strategy="pin", targets=("far",)),
        SelectorRoute(selector="warm", strategy="warm", targets=("qwen", "own")),
    ),
    profiles=(ProfileRoute(profile="p", pins={"new": "far"}),),
    profile="p",
)


def test_all_names_of_a_model_lead_to_its_places() -> None:
    names = ModelNames(SPREAD)
    for name, model, places in (
        ("qwen", "qwen", "qwen"),
        ("gpt-4", "qwen", "qwen"),
        ("far", "box2/far", "far"),
        ("pin", "box2/far", "far"),
        ("new", "box2/far", "far"),
        ("own", "own", None),
        ("box2/qwen", "box2/qwen", None),
        ("box3/far", "box3/far", None),
    ):
        target = names.find(name)
        found = None if target.detour is None else target.detour.places
        assert (target.route.model, found) == (model, places), name
    # a selector that chooses has its own question first
    assert names.find("warm").detour == Detour("warm")
    chosen = names.find_chosen("qwen").detour
    assert chosen is not None
    assert chosen.places == "qwen"
    # one of the places is a plain name
    for place in ("qwen", "box2/qwen", "box3/far"):
        assert names.find_place(place).detour is None
    assert names.find_place("box3/far").route.send_as == "far"
    with pytest.raises(UnknownModel):
        names.find_place("gone")
    assert names.sole is None


def test_a_key_may_use_a_shared_name_only_by_that_name() -> None:
    names = ModelNames(SPREAD)
    few = names.restricted(["box2/*"])
    assert few.ids() == {"box2/qwen", "box2/far"}
    for name in ("far", "qwen", "pin", "new"):  # they may lead to another machine
        with pytest.raises(UnknownModel):
            few.find(name)
    assert few.config.places == {}
    assert names.restricted(["far"]).find("far").route.model == "box2/far"
    assert names.restricted(["qwen"]).find("gpt-4").route.model == "qwen"
