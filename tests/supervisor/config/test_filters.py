from typing import Any

import pytest

from arriero.supervisor.config.model_config import Capabilities, Filters
from tests.supervisor.config.reading import model, parse, problems, with_model

# --- filters ------------------------------------------------------------------------------------


def filters(written: str, keys: str = "") -> Filters:
    return model(f"filters: {written}, {keys}").filters


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("''", ()),
        ("top_k", ("top_k",)),
        ("'top_p, temperature,top_k'", ("temperature", "top_k", "top_p")),
        ("' b ,, a,b , '", ("a", "b")),
        ("'model, temperature, model'", ("temperature",)),
        ("model", ()),
        ("'chat.model, Model'", ("Model", "chat.model")),
        ("7", ("7",)),
    ],
)
def test_names_to_strip_are_trimmed_sorted_told_once_and_never_the_model(
    written: str, names: tuple[str, ...]
) -> None:
    assert filters(f"{{stripParams: {written}}}").strip_params == names


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("{strip_params: 'b, a'}", ("a", "b")),
        ("{stripParams: '', strip_params: 'b, a'}", ("a", "b")),
        ("{strip_params: 'b, a', stripParams: }", ("a", "b")),
        ("{strip_params: 'b, a', stripParams: c}", ("c",)),
        ("{stripParams: c, strip_params: 'b, a'}", ("c",)),
        ("{stripParams: '${list}'}", ("a", "c")),
        ("{stripParams: 'b, ${list}'}", ("a", "b", "c")),
    ],
)
def test_names_to_strip_have_an_older_key_and_may_be_macros(
    written: str, names: tuple[str, ...]
) -> None:
    assert filters(written, "macros: {list: 'c, a'}").strip_params == names


def test_a_peer_has_no_older_key() -> None:
    text = "peers: {p: {proxy: 'http://h', models: [m], filters: {strip_params: a}}}"
    (told,) = problems(text)
    assert "peers.p.filters: unknown key 'strip_params'; did you mean 'stripParams'?" in told


@pytest.mark.parametrize(
    ("written", "params"),
    [
        ("", {}),
        ("{}", {}),
        ("{model: other}", {}),
        ("{b: 1, model: other, a: 0.5}", {"a": 0.5, "b": 1}),
        (
            "{p: {allow: true, order: [x, {y: 1}]}}",
            {"p": {"allow": True, "order": ("x", {"y": 1})}},
        ),
        ("{p: {model: stays}, q: null}", {"p": {"model": "stays"}, "q": None}),
        ("{a.b: yes, n: 1.0, s: '1'}", {"a.b": "yes", "n": 1.0, "s": "1"}),
    ],
)
def test_params_are_set_in_the_order_of_their_names_and_never_the_model(
    written: str, params: dict[str, Any]
) -> None:
    found = filters(f"{{setParams: {written}}}").set_params
    assert found == params
    assert list(found) == sorted(params)


def test_both_filters_are_read() -> None:
    found = filters("{stripParams: top_k, setParams: {top_p: 0.9}}")
    assert found == Filters(strip_params=("top_k",), set_params={"top_p": 0.9})


def test_params_by_id_are_found_by_the_name_of_the_request() -> None:
    found = filters("{setParamsByID: {a: {z: 1, model: x, b: 2}, 'a:high': {e: {f: [1]}}, none: }}")
    assert found.set_params_by_id == {
        "a": {"b": 2, "z": 1},
        "a:high": {"e": {"f": (1,)}},
        "none": {},
    }
    assert list(found.set_params_by_id["a"]) == ["b", "z"]
    assert found.set_params_by_id.get("other") is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{stripParams: [a]}", "stripParams: found a list; write a text"),
        ("{setParams: [a]}", "setParams: found a list; write a mapping"),
        ("{setParams: {a: .nan}}", "setParams.a: JSON has no number .nan"),
        ("{setParamsByID: {x: 1}}", "setParamsByID.x: found the number 1; write a mapping"),
        ("{setParamsByID: [x]}", "setParamsByID: found a list; write a mapping"),
        ("{setparams: {}}", "unknown key 'setparams'; did you mean 'setParams'?"),
    ],
)
def test_filters_of_another_kind_are_a_mistake(written: str, told: str) -> None:
    (found,) = problems(with_model(f"filters: {written}"))
    assert "models.a.filters" in found
    assert told in found


# --- names by filters ---------------------------------------------------------------------------


def test_a_name_with_params_of_its_own_becomes_an_alias() -> None:
    text = with_model(
        "aliases: [b], filters: {setParamsByID: {a: {x: 1}, b: {}, '${MODEL_ID}:low': {}, c: {}}}"
    )
    config = parse(text)
    assert config.models["a"].aliases == ("b", "a:low", "c")
    assert config.resolve("a:low") is config.resolve("c") is config.models["a"]
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("filters: {setParamsByID: {b: {}}}", "", "'b' is the name of another model"),
        ("aliases: [x]", "filters: {setParamsByID: {x: {}}}", "'x' is an alias of 'a' already"),
        ("filters: {setParamsByID: {x: {}}}", "aliases: [x]", "'x' is an alias of 'a' already"),
        (
            "filters: {setParamsByID: {'${MODEL_ID}b': {}}}",
            "filters: {setParamsByID: {ab: {}}}",
            "'ab' is an alias of 'a' already",
        ),
        ("filters: {setParamsByID: {'': {}}}", "", "an alias is 1 to 200 printable characters"),
    ],
)
def test_a_name_with_params_has_one_meaning(first: str, second: str, told: str) -> None:
    text = (
        f"models:\n  a: {{cmd: 'run ${{PORT}}', {first}}}\n"
        f"  b: {{cmd: 'run ${{PORT}}', {second}}}\n"
    )
    (found,) = problems(text)
    assert told in found


# --- capabilities -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "capabilities"),
    [
        ("", Capabilities()),
        ("{}", Capabilities()),
        ("{in: [], out: , tools: false, context: 0}", Capabilities()),
        ("{tools: true}", Capabilities(tools=True)),
        ("{reranker: yes}", Capabilities(reranker=True)),
        ("{context: 32768}", Capabilities(context=32768)),
        ("{out: [audio]}", Capabilities(gives=("audio",))),
        (
            "{in: [text, image, audio], out: [text], tools: true, reranker: true, context: 8192}",
            Capabilities(
                takes=("text", "image", "audio"),
                gives=("text",),
                tools=True,
                reranker=True,
                context=8192,
            ),
        ),
    ],
)
def test_what_a_model_can_do(written: str, capabilities: Capabilities) -> None:
    assert model(f"capabilities: {written}").capabilities == capabilities


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{in: [text, video]}", "in.1: found the text 'video'; write one of text, audio, image"),
        ("{out: [imge]}", "out.0: found the text 'imge'; write one of text, audio, image (did you"),
        ("{out: ['']}", "out.0: found the text ''; write one of"),
        ("{in: text}", "in: this is not a list; write a list of text, audio or image"),
        ("{context: -1}", "context: found the number -1; write a whole number from 0"),
        ("{context: '8192'}", "context: found the text '8192'"),
        ("{context: '${text}'}", "context: found the text '${text}'"),
        ("{tools: 1}", "tools: found the number 1; write true or false"),
        ("{tools: '${nope}'}", "tools: unknown macro ${nope}"),
        ("{in: ['${nope}']}", "in.0: unknown macro ${nope}"),
        ("{tool: true}", "capabilities: unknown key 'tool'; did you mean 'tools'?"),
        ("[tools]", "capabilities: found a list; write a mapping of keys"),
    ],
)
def test_what_no_model_can_do_is_a_mistake(written: str, told: str) -> None:
    (found,) = problems(with_model(f"macros: {{text: '8192'}}, capabilities: {written}"))
    assert "models.a.capabilities" in found
    assert told in found


def test_macros_in_capabilities_keep_their_type() -> None:
    macros = "{kind: image, ctx: 4096, big: '${ctx}', can: true}"
    written = "{in: [text, '${kind}'], out: ['${kind}'], tools: '${can}', context: '${big}'}"
    assert model(f"macros: {macros}, capabilities: {written}").capabilities == Capabilities(
        takes=("text", "image"), gives=("image",), tools=True, context=4096
    )


ANCHORS = """
defs:
  chat: &chat
    in: [text]
    out: [text]
    context: ${ctx}
macros: {ctx: 1024}
models:
  a:
    cmd: run ${PORT}
    capabilities: *chat
  b:
    cmd: run ${PORT}
    macros: {ctx: 2048}
    capabilities: {<<: *chat, in: [image], tools: true}
  c:
    cmd: run ${PORT}
    macros: {ctx: 4096}
    capabilities: {<<: [{out: [audio]}, *chat]}
"""


def test_capabilities_may_be_shared_and_each_model_has_its_own_macros() -> None:
    config = parse(ANCHORS)
    assert [found.capabilities for found in config.models.values()] == [
        Capabilities(takes=("text",), gives=("text",), context=1024),
        Capabilities(takes=("image",), gives=("text",), tools=True, context=2048),
        Capabilities(takes=("text",), gives=("audio",), context=4096),
    ]
    assert config.warnings == ()
