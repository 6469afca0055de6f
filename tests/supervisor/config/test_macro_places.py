"""Where macros act: in which values, and with which types."""

from typing import Any

import pytest

from tests.supervisor.config.reading import model, parse, problems, with_model

# --- values and their types ---------------------------------------------------------------------

EVERYWHERE = """
macros:
  n: 60
  ratio: 0.5
  can: true
  cannot: false
  word: hello
  name: a
  path: /v${n}
startPort: ${port}
globalTTL: ${n}
unloadTimeout: ${n}
includeAliasesInList: ${can}
sendLoadingState: ${can}
metricsMaxInMemory: ${n}
performance: {disabled: '${can}', every: '${n}s'}
apiKeys: ['key-${word}', '${n}']
hooks: {on_startup: {preload: ['${name}']}}
ui: {activity: {session_id: ['X-${word}']}}
peers: {p: {proxy: 'http://${word}', models: ['${word}'], timeouts: {connect: '${n}'}}}
groups: {'${name}': {members: ['${name}'], swap: '${cannot}'}}
models:
  a:
    macros: {n: 61}
    cmd: run ${PORT} ${n} ${ratio} ${can}
    ttl: ${n}
    unloadTimeout: '${n}'
    concurrencyLimit: ${n}
    unlisted: ${can}
    sendLoadingState: ${cannot}
    checkEndpoint: ${path}
    aliases: ['${word}', 'al-${n}']
    env: ['N=${n}', '${word}=${can}']
    timeouts: {connect: '${n}'}
    compat: {ignoreWebsockets: '${can}'}
    filters: {stripParams: '${word}', setParams: {x: '${n}', y: ['${ratio}']}}
"""


def test_macros_act_in_all_values_and_keep_their_types() -> None:
    config = parse(EVERYWHERE.replace("  n: 60", "  n: 60\n  port: 7000"))
    found = config.models["a"]
    assert (config.start_port, config.activity.metrics_rows) == (7000, 60)
    assert (config.activity.sampling, config.activity.sampling_s) == (False, 60.0)
    assert (config.aliases_in_list, config.api_keys) == (True, ("key-hello", "60"))
    assert (config.preload, config.activity.session_headers) == (("a",), ("X-hello",))
    peer = config.peers["p"]
    assert (peer.url, peer.models, peer.timeouts.connect_s) == ("http://hello", ("hello",), 60)
    assert [(group.name, group.swap) for group in config.routing.groups] == [("${name}", False)]
    assert found.command == ("run", "${PORT}", "61", "0.5", "true")
    assert (found.ttl_s, found.unload_timeout_s, found.concurrency_limit) == (61, 61, 61)
    assert (found.unlisted, found.progress, found.ignore_websockets) == (True, "off", True)
    assert (found.check_endpoint, found.aliases) == ("/v61", ("hello", "al-61"))
    assert found.env == (("N", "61"), ("hello", "true"))
    assert found.timeouts.connect_s == 61
    assert found.filters.strip_params == ("hello",)
    assert found.filters.set_params == {"x": 61, "y": (0.5,)}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'${int}'", 8192),
        ("'${float}'", 0.7),
        ("'${bool}'", True),
        ("'${text}'", "8192"),
        ("'${through}'", 8192),
        ("'${PORT}'", 5800),
        ("'${port}'", 5800),
        ("'n=${int} f=${float} b=${bool}'", "n=8192 f=0.7 b=true"),
        ("' ${int}'", " 8192"),
        ("'${int}${int}'", "81928192"),
        ("{x: [1, {z: '${int}'}, ['${MODEL_ID}-${bool}']]}", {"x": (1, {"z": 8192}, ("a-true",))}),
        ("[~, 1, 1.5, true, text]", (None, 1, 1.5, True, "text")),
        ("{'${int}': '${int}'}", {"${int}": 8192}),
        ("'$${int} $5'", "${int} $5"),
    ],
)  # fmt: skip
def test_metadata_have_the_type_of_a_macro_that_stands_alone(written: str, meant: Any) -> None:
    typed = "int: 8192, float: 0.7, bool: true, text: '8192', through: '${int}', port: '${PORT}'"
    found = model(f"metadata: {{k: {written}}}", f"macros: {{{typed}}}").metadata["k"]
    assert found == meant
    assert type(found) is type(meant) or isinstance(meant, dict)


def test_a_macro_of_the_model_comes_before_a_global_one_in_metadata() -> None:
    found = model(
        "macros: {x: own}, metadata: {x: '${x}', y: '${y}'}", "macros: {x: all, y: '-${x}-'}"
    )
    assert found.metadata == {"x": "own", "y": "-own-"}


def test_names_and_descriptions_have_macros() -> None:
    found = model(
        "name: '${MODEL_ID} (${q})', description: ' ${q} of ${MODEL_ID} '", "macros: {q: Q4}"
    )
    assert (found.name, found.description) == ("a (Q4)", "Q4 of a")


def test_a_value_that_is_a_text_stays_one() -> None:
    (told,) = problems(with_model("ttl: '${s}'", "macros: {s: '60'}"))
    assert "models.a.ttl: found the text '${s}'; write a whole number from -1" in told


# --- what is unknown ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ("cmdStop: 'x ${u}'", "cmdStop"),
        ("proxy: 'http://${u}'", "proxy"),
        ("checkEndpoint: '/${u}'", "checkEndpoint"),
        ("filters: {stripParams: 'a, ${u}'}", "filters.stripParams"),
        ("filters: {setParams: {x: {y: ['${u}']}}}", "filters.setParams.x.y.0"),
        ("filters: {setParamsByID: {x: {y: '${u}'}}}", "filters.setParamsByID.x.y"),
        ("filters: {setParamsByID: {'${u}': {}}}", "filters.setParamsByID"),
        ("name: '${u}'", "name"),
        ("description: 'of ${u}'", "description"),
        ("capabilities: {in: ['${u}']}", "capabilities.in.0"),
        ("capabilities: {context: '${u}'}", "capabilities.context"),
        ("metadata: {x: [{y: '${u}'}]}", "metadata.x.0.y"),
        ("aliases: ['${u}']", "aliases.0"),
        ("useModelName: '${u}'", "useModelName"),
        ("ttl: '${u}'", "ttl"),
        ("unlisted: '${u}'", "unlisted"),
        ("timeouts: {connect: '${u}'}", "timeouts.connect"),
    ],
)
def test_an_unknown_macro_is_told_with_its_model_and_key(keys: str, field: str) -> None:
    (told,) = problems(with_model(keys, "macros: {v: 1}"))
    known = "API_KEY, MODEL_ID, " if field == "cmdStop" else "MODEL_ID, "
    assert f": models.a.{field}: unknown macro ${{u}}; known are: {known}" in told


def test_an_unknown_macro_in_a_command_is_told() -> None:
    (told,) = problems("models: {a: {cmd: 'run ${PORT} ${u}'}}")
    assert (
        told == "c.yaml:1:19: models.a.cmd: unknown macro ${u}; known are: API_KEY, MODEL_ID, PORT"
    )


@pytest.mark.parametrize(
    "top",
    [
        "apiKeys: ['${u}']",
        "startPort: ${u}",
        "logLevel: ${u}",
        "store: {path: '/${u}'}",
        "upstream: {ignorePaths: ['${u}']}",
        "hooks: {on_startup: {preload: ['${u}']}}",
        "groups: {g: {members: ['${u}']}}",
        "peers: {p: {proxy: 'http://${u}', models: [m]}}",
        "peers: {p: {proxy: 'http://h', models: [m], apiKey: '${u}'}}",
        "peers: {p: {proxy: 'http://h', models: [m], filters: {setParams: {x: '${u}'}}}}",
        "profiles: {p: {pins: {x: '${u}'}}}",
        "selectors: {s: {strategy: pin, targets: ['${u}']}}",
    ],
)
def test_an_unknown_macro_elsewhere_is_told(top: str) -> None:
    (told,) = problems(with_model("macros: {u: 1}", top))  # that of a model is unknown here
    assert "unknown macro" in told
    assert told.startswith("c.yaml:1:")


def test_what_nothing_reads_may_hold_anything() -> None:
    text = "defs: {x: &x '${nope} ${env.NOPE}'}\n# ${nope} ${env.NOPE}\n" + with_model()
    assert parse(text).models["a"].port == 5800


# --- comments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("macros", ["{}", "{m: '--bad'}"])
def test_a_macro_in_a_line_of_comment_does_not_reach_the_command(macros: str) -> None:
    text = f"""
    macros: {macros}
    models:
      a:
        cmd: |
          run ${{PORT}}
          # ${{m}} ${{env.NOPE}} ${{PID}}
            # -x ${{m}}
          --last
        cmdStop: |
          # ${{m}}
          stop
    """
    found = parse(text).models["a"]
    assert found.command == ("run", "${PORT}", "--last")
    assert found.stop_command == ("stop",)


def test_a_comment_that_a_macro_brings_in_is_none_of_the_command() -> None:
    text = 'macros: {m: "-x\\n# gone\\n-y"}\nmodels: {a: {cmd: "run ${PORT} ${m}"}}'
    assert parse(text).models["a"].command == ("run", "${PORT}", "-x", "-y")


# --- keys and anchors ---------------------------------------------------------------------------


def test_keys_stay_as_they_are_but_those_of_params_by_id() -> None:
    found = model(
        "metadata: {'${x}': '${x}'}, "
        "filters: {setParams: {'${x}': 1}, setParamsByID: {'${x}-${MODEL_ID}': {'${x}': '${x}'}}}",
        "macros: {x: v}",
    )
    assert found.metadata == {"${x}": "v"}
    assert found.filters.set_params == {"${x}": 1}
    assert found.filters.set_params_by_id == {"v-a": {"${x}": "v"}}
    assert found.aliases == ("v-a",)


def test_keys_that_become_one_are_a_mistake() -> None:
    keys = "filters: {setParamsByID: {'${x}': {p: 1}, '${y}': {p: 2}, ok: {}}}"
    (told,) = problems(with_model(keys, "macros: {x: same, y: same}"))
    assert "models.a.filters.setParamsByID: 'same' stands here a second time" in told


def test_a_model_that_is_shared_by_an_anchor_has_the_macros_of_each() -> None:
    text = """
    defs:
      model: &model
        cmd: run ${PORT} ${local}
        env: ['V=${local}']
        metadata: {id: '${MODEL_ID}', v: '${local}'}
        macros: {local: shared}
    models:
      a: {<<: *model, macros: {local: 1}}
      b: {<<: *model, macros: {local: 2}, env: ['W=${local}']}
      c: *model
    """
    config = parse(text)
    assert [found.command[-1] for found in config.models.values()] == ["1", "2", "shared"]
    assert [found.env for found in config.models.values()] == [
        (("V", "1"),),
        (("W", "2"),),
        (("V", "shared"),),
    ]
    assert [dict(found.metadata) for found in config.models.values()] == [
        {"id": "a", "v": 1},
        {"id": "b", "v": 2},
        {"id": "c", "v": "shared"},
    ]
    assert config.warnings == ()


def test_a_misspelled_key_is_one_even_with_an_anchor() -> None:
    (told,) = problems("model: &m {a: {cmd: 'run ${PORT}'}}\n" + with_model())
    assert told == "c.yaml:1:1: unknown key 'model'; did you mean 'models'?"
