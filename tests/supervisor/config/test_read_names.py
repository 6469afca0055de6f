# ruff: noqa: E501  one mistake, one line
import pytest

from arriero.protocol.worker_config import Timeouts
from arriero.supervisor.config.load import Config
from arriero.supervisor.config.names import Selector
from arriero.supervisor.errors import ConfigError
from tests.supervisor.config.reading import parse, problems

MODELS = """\
models:
  a: {cmd: 'run ${PORT}', aliases: [x], filters: {setParamsByID: {'a:high': {effort: high}}}}
  b: {cmd: 'run ${PORT}'}
  c: {cmd: 'run ${PORT}'}
"""
PEERS = """\
peers:
  p: {proxy: 'http://p', models: [m, both, a]}
  q: {proxy: 'http://q', models: [both, p/m]}
"""
NAMES = MODELS + PEERS


def resolved(config: Config, name: str) -> tuple[str, str] | None:
    found = config.resolve_peer(name)
    return None if found is None else (found[0].peer, found[1])


# --- peers --------------------------------------------------------------------------------------


def test_a_peer_has_defaults_of_its_own() -> None:
    peer = parse("peers: {p: {proxy: 'https://host:8443/v1/', models: [m, org/n]}}").peers["p"]
    assert (peer.peer, peer.url, peer.models) == ("p", "https://host:8443/v1", ("m", "org/n"))
    assert peer.api_key == ""
    assert peer.timeouts == Timeouts(response_header_s=60)


def test_everything_of_a_peer_is_read_and_global_macros_act() -> None:
    peer = parse(
        """
macros: {host: 'http://h', hot: 1.5}
peers:
  p:
    proxy: ${host}:9000
    models: ['${host}-m']
    apiKey: ${env.KEY}
    filters:
      stripParams: b, a, model, a
      setParams: {temperature: '${hot}', provider: {order: [x, {y: true}]}, model: no}
      setParamsByID: {m: {top_k: 1}}
    timeouts: {connect: 1, responseHeader: 2}
""",
        KEY="secret",
    ).peers["p"]
    assert (peer.url, peer.models, peer.api_key) == ("http://h:9000", ("http://h-m",), "secret")
    assert peer.filters.strip_params == ("a", "b")
    assert peer.filters.set_params == {
        "provider": {"order": ("x", {"y": True})},
        "temperature": 1.5,
    }
    assert peer.filters.set_params_by_id == {"m": {"top_k": 1}}
    assert peer.timeouts == Timeouts(connect_s=1, response_header_s=2)


@pytest.mark.parametrize("written", ["auto", " Auto ", "'${how}'"])
def test_a_peers_models_may_be_its_own_list(written: str) -> None:
    config = parse(
        f"""
macros: {{how: auto}}
peers:
  p: {{proxy: 'http://h', models: {written}}}
  q: {{proxy: 'http://i', models: [m, n]}}
selectors:
  s: {{strategy: pin, targets: [p/org/x, m]}}
profiles:
  f: {{pins: {{y: p/y, z: q/m}}}}
"""
    )
    names = config.peer_models_with({"p": ["m", "k"]})

    assert (config.peers["p"].is_watched, config.peers["q"].is_watched) == (True, False)
    assert config.peer_models.table.keys() == {
        "p/org/x",
        "org/x",
        "p/y",
        "y",
        "q/m",
        "m",
        "q/n",
        "n",
    }
    assert names.models_of("p") == ["m", "k", "org/x", "y"]
    assert names.resolve("m") == (config.peers["q"], "m")  # what is told takes no name away
    assert names.resolve("k") == (config.peers["p"], "k")
    assert dict(names.places) == {"m": ("q/m", "p/m")}  # but may share it
    assert dict(config.peer_models.places) == {}


def test_a_name_of_a_list_that_is_not_there_yet_is_written_whole() -> None:
    with pytest.raises(ConfigError, match=r"there is no model 'x'; of a peer .* write p/<model>"):
        parse(
            "{peers: {p: {proxy: 'http://h', models: auto}}, "
            "selectors: {s: {strategy: pin, targets: [x]}}}"
        )


@pytest.mark.parametrize(
    ("peers", "told"),
    [
        ("{p: {models: [m]}}", "c.yaml:1:12: peers.p.proxy: there is no proxy; write the URL at which it answers"),
        ("{p: {proxy: '', models: [m]}}", "c.yaml:1:20: peers.p.proxy: found the text ''; write a URL, such as http://127.0.0.1:9000"),
        ("{p: {proxy: 'host:1', models: [m]}}", "c.yaml:1:20: peers.p.proxy: found the text 'host:1'; write a URL, such as http://127.0.0.1:9000"),
        ("{p: {proxy: 'http://h', models: [m], models_: 1}}", "c.yaml:1:45: peers.p: unknown key 'models_'; did you mean 'models'?"),
        ("{p: {proxy: 'http://h', models: [m], filters: {strip_params: a}}}", "c.yaml:1:55: peers.p.filters: unknown key 'strip_params'; did you mean 'stripParams'?"),
        ("{p: {proxy: 'http://h'}}", "c.yaml:1:12: peers.p.models: there are no models; write at least one that it serves, or auto"),
        ("{p: {proxy: 'http://h', models: []}}", "c.yaml:1:12: peers.p.models: there are no models; write at least one that it serves, or auto"),
        ("{p: {proxy: 'http://h', models: [' ']}}", "c.yaml:1:41: peers.p.models.0: found the text ' '; write a name"),
        ("{p: {proxy: 'http://h', models: m}}", "c.yaml:1:40: peers.p.models: this is not a list; write a list of names, or auto"),
        ("{p: {proxy: 'http://h', models: auto, kind: gemini}}", "c.yaml:1:40: peers.p.models: servers of the kind gemini do not tell their models; write their names"),
        ("{'': {proxy: 'http://h', models: [m]}}", "c.yaml:1:13: peers.: a peer's name cannot be empty"),
        ("{p: [m]}", "c.yaml:1:12: peers.p: found a list; write a mapping of keys"),
        ("{p: {proxy: 'http://h:${PORT}', models: [m]}}", "c.yaml:1:20: peers.p.proxy: ${PORT} has a meaning only in a model whose cmd uses it"),
        ("{p: {proxy: 'http://h', models: [m], apiKey: \"s\\ncret\"}}", "c.yaml:1:53: peers.p.apiKey: this key holds a character that no header can; remove it"),
        ("{p: {proxy: 'http://h', models: [m], apiKey: 's${cret}'}}", "c.yaml:1:53: peers.p.apiKey: it uses an unknown macro; known are: none; $${ stands for a plain ${"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_peer_is_told_with_its_place(peers: str, told: str) -> None:
    assert problems(f"peers: {peers}") == [told]


def test_a_peer_that_lacks_everything_is_told_all_of_it() -> None:
    assert [text.split(": ")[1] for text in problems("nope: 1\npeers: {p: , q: {}}")] == [
        "unknown key 'nope'; known are",
        "peers.p.models",
        "peers.p.proxy",
        "peers.q.models",
        "peers.q.proxy",
    ]


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("p/both", ("p", "both")),
        ("q/both", ("q", "both")),
        ("m", ("p", "m")),
        ("both", ("p", "both")),  # of two peers: either may answer
        ("a", None),  # a model here
        ("p/a", ("p", "a")),
        ("p/m", ("p", "m")),  # not q's model of that name
        ("q/p/m", ("q", "p/m")),
        ("p/", None),
        ("m/p", None),
        ("nope", None),
    ],
)
def test_a_model_of_a_peer_is_found_by_its_whole_name_or_by_its_only_one(
    name: str, peer: tuple[str, str] | None
) -> None:
    assert resolved(parse(NAMES), name) == peer


def test_an_alias_here_hides_the_bare_name_of_a_peer() -> None:
    config = parse(MODELS + "peers: {p: {proxy: 'http://p', models: [x, 'a:high']}}")
    assert resolved(config, "x") is None
    assert resolved(config, "a:high") is None
    assert resolved(config, "p/x") == ("p", "x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "peers:\n  p: {proxy: 'http://p', models: [q/m]}\n  p/q: {proxy: 'http://q', models: [m]}\n",
            "c.yaml:3:8: peers.p/q: 'p/q/m' is a model of the peer 'p' as well",
        ),
        (
            PEERS + "models: {p/m: {cmd: 'run ${PORT}'}}\n",
            "c.yaml:2:6: peers.p: 'p/m' is the name of a model here; rename the peer",
        ),
        (
            PEERS + "models: {z: {cmd: 'run ${PORT}', aliases: [p/m]}}\n",
            "c.yaml:2:6: peers.p: 'p/m' is the name of a model here; rename the peer",
        ),
        (
            NAMES + "selectors: {p/m: {strategy: pin, targets: [a]}}\n",
            "c.yaml:8:18: selectors.p/m: 'p/m' is a model of a peer; a name has one meaning",
        ),
        (
            NAMES + "profiles: {f: {pins: {p/m: a}}}\n",
            "c.yaml:8:28: profiles.f.pins.p/m: 'p/m' is a model of a peer; a name has one meaning",
        ),
    ],
)
def test_the_whole_name_of_a_model_of_a_peer_has_one_meaning(text: str, told: str) -> None:
    assert problems(text) == [told]


# --- profiles -----------------------------------------------------------------------------------


def test_a_profile_pins_names_to_all_that_answers() -> None:
    profile = parse(
        NAMES
        + """\
selectors: {s: {strategy: warm, targets: [a]}}
profiles:
  f:
    description: ' for work '
    pins: {1: a, 2: x, 3: 'a:high', 4: m, 5: p/both, 6: s, 7: both, a: b, off: '', gone: , null: ~}
"""
    ).profiles["f"]
    assert profile.description == "for work"
    assert profile.pins == {
        "1": "a", "2": "x", "3": "a:high", "4": "m", "5": "p/both", "6": "s", "7": "both", "a": "b",
        "off": None, "gone": None, "null": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("profiles", "told"),
    [
        ("{f: [a, b]}", "c.yaml:8:15: profiles.f: found a list; write a mapping of keys"),
        ("{f: {}}", "c.yaml:8:15: profiles.f.pins: there are no pins; write at least one name and its model"),
        ("{f: }", "c.yaml:8:12: profiles.f.pins: there are no pins; write at least one name and its model"),
        ("{f: {pins: {}}}", "c.yaml:8:15: profiles.f.pins: there are no pins; write at least one name and its model"),
        ("{'': {pins: {y: a}}}", "c.yaml:8:16: profiles.: a profile's name cannot be empty"),
        ("{f: {pins: {' ': a}}}", "c.yaml:8:28: profiles.f.pins. : the name that is pinned cannot be empty"),
        ("{f: {pins: {y: bb}}}", "c.yaml:8:26: profiles.f.pins.y: there is no model 'bb'; did you mean 'b'?"),
        ("{f: {pins: {y: [a]}}}", "c.yaml:8:26: profiles.f.pins.y: found a list; write a name"),
        ("{f: {pins: {y: z, z: a}}}", "c.yaml:8:26: profiles.f.pins.y: there is no model 'z'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_profile_is_told_with_its_place(profiles: str, told: str) -> None:
    assert problems(NAMES + f"profiles: {profiles}") == [told]


def test_a_pin_to_a_selector_with_a_mistake_is_no_second_mistake() -> None:
    text = "selectors: {s: {targets: [a]}}\nprofiles: {f: {pins: {y: s}}}\n"
    assert [told.split(": ")[1] for told in problems(MODELS + text)] == ["selectors.s.strategy"]


# --- selectors ----------------------------------------------------------------------------------


def selector(written: str, more: str = "") -> str:
    return f"{NAMES}{more}\nselectors: {{{written}}}\n"


def test_a_selector_is_read_with_its_defaults() -> None:
    selectors = parse(
        selector(
            "s: {strategy: pin, targets: [a]}, t: {strategy: Spillover, targets: [x, m], "
            "settings: {spillover: 3}, name: ' N ', description: D, unlisted: yes, metadata: {k: [1]}}"
        )
    ).selectors
    assert selectors["s"] == Selector(selector="s", strategy="pin", targets=("a",), spillover=1)
    assert selectors["t"] == Selector(
        selector="t",
        strategy="spillover",
        targets=("x", "m"),
        spillover=3,
        name="N",
        description="D",
        unlisted=True,
        metadata={"k": (1,)},
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("'': {strategy: pin, targets: [a]}", "9:17: selectors.: a selector's name cannot be empty"),
        ("a: {strategy: pin, targets: [b]}", "9:16: selectors.a: 'a' is the name of a model; a name has one meaning"),
        ("x: {strategy: pin, targets: [b]}", "9:16: selectors.x: 'x' is the name of a model; a name has one meaning"),
        ("'a:high': {strategy: pin, targets: [b]}", "9:23: selectors.a:high: 'a:high' is the name of a model; a name has one meaning"),
        ("s: {targets: [a]}", "9:16: selectors.s.strategy: there is none; write pin, warm or spillover"),
        ("s: {strategy: worm, targets: [a]}", "9:27: selectors.s.strategy: found the text 'worm'; write one of pin, warm, spillover (did you mean 'warm'?)"),
        ("s: {strategy: pin}", "9:16: selectors.s.targets: there are no targets; write at least one model"),
        ("s: {strategy: pin, targets: []}", "9:16: selectors.s.targets: there are no targets; write at least one model"),
        ("s: {strategy: pin, targets: [bb]}", "9:42: selectors.s.targets: there is no model 'bb'; did you mean 'b'?"),
        ("s: {strategy: pin, targets: ['']}", "9:42: selectors.s.targets.0: found the text ''; write 1 to 200 printable characters"),
        ("s: {strategy: pin, targets: [t]}, t: {strategy: pin, targets: [a]}", "9:42: selectors.s.targets: 't' is a selector; write models"),
        ("s: {strategy: pin, targets: [s]}", "9:42: selectors.s.targets: 's' is a selector; write models"),
        ("s: {strategy: warm, targets: [a, p/m]}", "9:46: selectors.s.targets: 'p/m' is a model of a peer; warm knows only those here"),
        ("s: {strategy: warm, targets: [a, bb]}", "9:46: selectors.s.targets: there is no model 'bb'; did you mean 'b'?"),
        ("s: {strategy: spillover, targets: [m], settings: {spillover: 0}}", "9:74: selectors.s.settings.spillover: found the number 0; write a whole number from 1 to 2147483648"),
        ("s: {strategy: spillover, targets: [a, x]}", "9:51: selectors.s.targets: 'x' and 'a' are the same model; remove one"),
        ("s: {strategy: spillover, targets: [p/m, m]}", "9:53: selectors.s.targets: 'm' and 'p/m' are the same model; remove one"),
        ("s: {strategy: spillover, targets: [b, m, a]}", "9:48: selectors.s.targets: a, b cannot run together, so nothing can spill over: put them into one group with swap: false, or into one set of the matrix"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_selector_is_told_with_its_place(written: str, told: str) -> None:
    assert problems(selector(written)) == [f"c.yaml:{told}"]


@pytest.mark.parametrize("strategy", ["pin", "spillover"])
@pytest.mark.parametrize("target", ["p/both", "m", "q/p/m"])
def test_a_selector_may_stand_for_a_model_of_a_peer(strategy: str, target: str) -> None:
    config = parse(selector(f"s: {{strategy: {strategy}, targets: [{target}]}}"))
    assert config.selectors["s"].targets == (target,)


def test_a_selector_may_have_the_bare_name_of_a_model_of_a_peer() -> None:
    config = parse(selector("m: {strategy: pin, targets: [p/m]}"))
    assert config.selectors["m"].targets == ("p/m",)


SETS = "one: a & b, two: +one & c"
WIDE = " & ".join(f"(a | b | m{n})" for n in range(20))


@pytest.mark.parametrize(
    ("routing", "targets", "spills"),
    [
        ("groups: {g: {members: [a, b], swap: false}}", "a, b", True),
        ("groups: {g: {members: [a, b], swap: false}}", "x, b, p/m, q/both", True),
        ("groups: {g: {members: [a, b], swap: false}}", "a, c", False),
        ("groups: {g: {members: [a, b]}}", "a, b", False),
        (
            "groups: {g: {members: [a], swap: false, exclusive: false}, h: {members: [b], swap: false, exclusive: false}}",
            "a, b",
            False,
        ),
        (f"matrix: {{sets: {{{SETS}}}}}", "a, b", True),
        (f"matrix: {{sets: {{{SETS}}}}}", "a, b, c", True),
        ("matrix: {sets: {one: a & b, two: b & c}}", "a, b, c", False),
        ("matrix: {sets: {one: a | b}}", "a, b", False),
        ("", "a", True),
        ("", "a, m", True),
        ("", "m, p/both, q/both", True),
        ("", "a, b", False),
    ],
)
def test_a_spillover_needs_models_that_can_run_together(
    routing: str, targets: str, spills: bool
) -> None:
    text = selector(f"s: {{strategy: spillover, targets: [{targets}]}}", routing)
    if spills:
        assert parse(text).selectors["s"].strategy == "spillover"
    else:
        assert "cannot run together, so nothing can spill over" in problems(text)[0]


@pytest.mark.parametrize(("use", "targets"), [("group", "a, b"), ("matrix", "b, c")])
def test_only_what_decides_says_what_can_run_together(use: str, targets: str) -> None:
    both = "{groups: {g: {members: [a, b], swap: false}}, matrix: {sets: {s: b & c}}}"
    routing = f"routing: {{router: {{use: {use}, settings: {both}}}}}"
    for tried in ("a, b", "b, c"):
        text = selector(f"s: {{strategy: spillover, targets: [{tried}]}}", routing)
        if tried == targets:
            assert parse(text).selectors["s"].targets
        else:
            assert len(problems(text)) == 1


def test_a_large_matrix_is_asked_without_multiplying_it_out() -> None:
    models = "".join(f"  m{n}: {{cmd: 'run ${{PORT}}'}}\n" for n in range(20))
    written = "selectors: {s: {strategy: spillover, targets: [a, b, m7]}}\n"
    text = f"{MODELS}{models}matrix: {{sets: {{wide: '{WIDE}'}}}}\n{written}"
    assert parse(text).selectors["s"].targets == ("a", "b", "m7")


def test_while_there_are_mistakes_nobody_is_told_that_models_cannot_run_together() -> None:
    text = selector("s: {strategy: spillover, targets: [a, b]}", "groups: {g: {members: [a, bb]}}")
    assert [told.split(": ")[1] for told in problems(text)] == ["groups.g.members"]
