"""How requests are passed on: limits, header fields, other servers; and what workers get of it."""

from typing import Any

import pytest

from arriero.protocol.worker_config import HeaderRules, PeerModel, PeerRoute, Timeouts, WorkerConfig
from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.worker_config import route_table
from arriero.worker.http.header_rules import PROTECTED
from tests.supervisor.config.reading import model, parse, problems, with_model


def table(top: str) -> WorkerConfig:
    """Return what workers get of a configuration with the keys `top`."""
    text = with_model(top=top)
    assert parse(dump(parse(text))) == parse(text)
    return route_table(parse(text), 7)


# --- limits and switches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("progressMarkersOld: ['[x] ', '>>> ']", "old_markers", ("[x] ", ">>> ")),
        ("nonstreamHold: 30s", "nonstream_hold_s", 30.0),
        ("nonstreamHold: 1h", "nonstream_hold_s", 3600.0),
        ("nonstreamKeepalive: Whitespace", "nonstream_blanks", True),
        ("nonstreamKeepalive: off", "nonstream_blanks", False),
        ("nonstreamKeepalive: false", "nonstream_blanks", False),
        ("upstreamIdle: 1s", "upstream_idle_s", 1.0),
        ("upstreamStall: 90s", "upstream_stall_s", 90.0),
        ("maxRetryWait: 0", "max_retry_wait_s", 0.0),
        ("maxRetryWait: 1m", "max_retry_wait_s", 60.0),
        ("maxBody: 64KiB", "max_body_bytes", 64 * 1024),
        ("maxBody: 1GiB\nbodyMemory: 2GiB", "max_body_bytes", 1024**3),
        ("bodyMemory: 100MiB", "body_memory_bytes", 100 * 1024**2),
        ("trailers: no", "trailers", False),
        ("cors: off", "cors", False),
        ("cors: true", "cors", True),
        ("cors: []", "cors", ()),
        ("cors: ['*', 'https://a.example']", "cors", True),
        (
            "cors: [https://A.example:443/, 'http://b:*', https://a.example]",
            "cors",
            ("https://a.example", "http://b:*"),
        ),
        ("allowedHosts: [A.Example., .b, '*']", "allowed_hosts", ("a.example", ".b", "*")),
        ("allowedHosts: [10.0.0.1, '[FD00::0:1]']", "allowed_hosts", ("10.0.0.1", "fd00::1")),
        ("allowedHosts: [a]\nlisten: MyBox.lan:80", "allowed_hosts", ("a", "mybox.lan")),
    ],
)
def test_what_is_written_reaches_the_workers(written: str, field: str, value: Any) -> None:
    assert getattr(table(written), field) == value


def test_without_a_word_the_defaults_of_the_protocol_hold() -> None:
    found = table("")
    assert found == WorkerConfig(generation=7, models=found.models)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("progressMarkersOld: ['x ']", "progressMarkersOld.0: found the text 'x '; write 4 to 32"),
        ("progressMarkersOld: '[x] '", "progressMarkersOld: this is not a list"),
        ("nonstreamHold: 0", "nonstreamHold: found the number 0; write a duration from 1s to"),
        ("nonstreamHold: 61m", "nonstreamHold: found the text '61m'"),
        ("nonstreamKeepalive: blank", "nonstreamKeepalive: found the text 'blank'; write one of"),
        ("upstreamIdle: 500ms", "upstreamIdle: found the text '500ms'"),
        ("upstreamStall: 0", "upstreamStall: found the number 0"),
        ("maxRetryWait: 20", "maxRetryWait: found the number 20"),
        ("maxBody: 64", "maxBody: found the number 64; write a size from 64KiB to 1GiB"),
        ("maxBody: 63KiB", "maxBody: found the text '63KiB'"),
        ("maxBody: 2GiB", "maxBody: found the text '2GiB'"),
        ("bodyMemory: 64MB", "bodyMemory: found the text '64MB'; write a size from 1MiB to"),
        ("cors: some", "cors: found the text 'some'; write a list of origins, such as"),
        ("cors: https://a.example", "cors: found the text 'https://a.example'; write a list: ["),
        ("cors: [a.example]", "cors.0: found the text 'a.example'; write an origin, such as"),
        ("cors: [https://a.example/x]", "cors.0: found the text"),
        ("cors: [https://a.*.example]", "cors.0: found the text"),
        ("cors: [https://u@a.example]", "cors.0: found the text"),
        ("allowedHosts: a.example", "allowedHosts: this is not a list; write a list of hosts"),
        ("allowedHosts: ['a.example:8080']", "allowedHosts.0: found the text 'a.example:8080'"),
        ("allowedHosts: ['http://a.example']", "allowedHosts.0: found the text"),
        ("allowedHosts: ['a:b']", "allowedHosts.0: found the text"),
        ("trailers: some", "trailers: found the text 'some'; write true or false"),
    ],
)
def test_what_cannot_be_is_a_mistake(written: str, told: str) -> None:
    (found,) = problems(with_model(top=written))
    assert f": {told}" in found


# --- header fields ------------------------------------------------------------------------------


def test_header_fields_are_set_and_removed_in_each_direction() -> None:
    found = table(
        "headers:\n"
        "  request: {set: {X-A: 'a, b', x-n: 8, X-Empty: ''}, remove: [Authorization, X-A]}\n"
        "  response: {remove: [Server]}"
    )
    assert found.request_headers == HeaderRules(
        remove=("Authorization", "X-A"), set=(("X-A", "a, b"), ("x-n", "8"), ("X-Empty", ""))
    )
    assert found.response_headers == HeaderRules(remove=("Server",))


@pytest.mark.parametrize(
    "name", [*sorted(name.decode() for name in PROTECTED), "Host", "Content-LENGTH", "TE"]
)
@pytest.mark.parametrize("direction", ["request", "response"])
def test_fields_that_hold_a_message_together_cannot_be_changed(name: str, direction: str) -> None:
    for rule, where in ((f"set: {{{name}: x}}", f"set.{name}"), (f"remove: [{name}]", "remove.0")):
        (told,) = problems(with_model(top=f"headers: {{{direction}: {{{rule}}}}}"))
        assert f": headers.{direction}.{where}: {name} cannot be changed: " in told
        assert told.endswith("; leave it out")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("set: {'X A': b}", "set.X A: 'X A' cannot be the name of a header field"),
        ("set: {'': b}", "set.: '' cannot be the name of a header field"),
        ("set: {'X:': b}", "set.X:: 'X:' cannot be the name of a header field"),
        ("set: {'${n}': b}", "set.${n}: '${n}' cannot be the name of a header field"),
        ("set: {x-a: b, X-A: c}", "set.X-A: 'X-A' stands here a second time: fields have no case"),
        ("set: [X-A]", "set: found a list; write a mapping of names to values"),
        ("remove: ['X\\tA']", "remove.0: 'X\\\\tA' cannot be the name of a header field"),
        ("remove: X-A", "remove: this is not a list; write a list of names of header fields"),
    ],
)
def test_what_is_no_field_is_a_mistake(rule: str, told: str) -> None:
    (found,) = problems(with_model(top=f"macros: {{n: X}}\nheaders: {{request: {{{rule}}}}}"))
    assert f": headers.request.{told}" in found


@pytest.mark.parametrize(
    "value",
    [r'"s3cret\r\nX: y"', r'"s3cret\0"', r'"s3cret\x7f"', "' s3cret'", "'s3cret '", "s3crét"],
)
def test_a_value_that_no_header_can_hold_is_a_mistake_that_does_not_show_it(value: str) -> None:
    (told,) = problems(with_model(top=f"headers: {{response: {{set: {{X-A: {value}}}}}}}"))
    assert ": headers.response.set.X-A: this holds " in told
    assert "s3c" not in told


def test_a_value_with_an_unknown_macro_is_a_mistake_that_does_not_show_it() -> None:
    (told,) = problems(with_model(top="headers: {request: {set: {X-A: 's3cret${n0pe}'}}}"))
    assert ": headers.request.set.X-A: it uses an unknown macro; " in told
    assert "s3cret" not in told
    assert "n0pe" not in told


def test_values_come_from_the_environment_and_are_not_shown_by_accident() -> None:
    top = "headers: {request: {set: {X-Key: '${env.TOKEN}'}}}"
    config = parse(with_model(top=top), TOKEN="s3cret")
    assert route_table(config).request_headers.set == (("X-Key", "s3cret"),)
    assert "s3cret" not in repr(config)


# --- names, and where they lead -----------------------------------------------------------------


def test_a_name_with_a_slash_that_is_configured_here_stays_here_as_it_is() -> None:
    config = parse(
        "models: {openai/gpt-oss-20b: {cmd: 'run ${PORT}'}}\n"
        "peers:\n"
        "  openai: {proxy: 'http://o', models: [gpt-4o]}\n"
        "  router: {proxy: 'http://r', models: [openai/gpt-oss-20b]}\n"
    )
    found = route_table(config)
    assert [(route.model, route.send_as) for route in found.models] == [
        ("openai/gpt-oss-20b", None)
    ]
    assert found.peer_models == {
        "gpt-4o": PeerModel(peer="openai", model="gpt-4o"),
        "openai/gpt-4o": PeerModel(peer="openai", model="gpt-4o"),
        "router/openai/gpt-oss-20b": PeerModel(peer="router", model="openai/gpt-oss-20b"),
    }


def test_a_bare_name_that_two_peers_have_leads_to_both_unless_it_is_an_alias() -> None:
    peers = "peers: {p: {proxy: 'http://p', models: [m, x]}, q: {proxy: 'http://q', models: [m]}}"
    found = route_table(parse(f"{with_model('aliases: [x]')}\n{peers}"))
    assert set(found.peer_models) == {"m", "p/m", "p/x", "q/m"}
    assert found.places == {"m": ("p/m", "q/m")}


def test_a_peer_is_told_with_all_that_is_said_of_it() -> None:
    text = (
        "peers: {p: {proxy: 'https://p/base/', models: [m], kind: Bedrock, usage: observe, "
        "apiKey: k, region: eu-central-1, forwardAuth: yes, timeouts: {connect: 3}, "
        "wake: {mac: 00-11-22-33-44-5a, broadcast: '10.0.0.255:7', limit: 50}}}\n"
        "progress: reasoning\nstrict: force"
    )
    assert route_table(parse(text)).peers == {
        "p": PeerRoute(
            peer="p",
            url="https://p/base",
            kind="bedrock",
            usage="observe",
            api_key="k",
            region="eu-central-1",
            forward_auth=True,
            timeouts=Timeouts(connect_s=3.0, response_header_s=60.0),
            wake_s=50.0,
            progress="reasoning",
            strict="force",
        )
    }
    assert parse(dump(parse(text))) == parse(text)


def test_of_a_peer_little_has_to_be_said() -> None:
    found = route_table(parse("peers: {p: {proxy: 'http://p', models: [m]}}")).peers["p"]
    assert found == PeerRoute(peer="p", url="http://p")


def test_timeouts_reach_the_workers_as_they_are_written() -> None:
    text = "peers: {p: {proxy: 'http://p', models: [m], timeouts: {connect: 0, responseHeader: 0}}}"
    found = route_table(parse(text)).peers["p"].timeouts
    assert found == Timeouts(connect_s=0, response_header_s=0)


def test_what_a_server_is_can_be_said() -> None:
    found = model("kind: vllm, usage: inject")
    assert (found.kind, found.usage) == ("vllm", "inject")
    (route,) = route_table(parse(with_model("kind: vllm, usage: inject"))).models
    assert (route.kind, route.usage) == ("vllm", "inject")
    assert (model().kind, model().usage) == (None, "auto")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("kind: vlm", "kind: found the text 'vlm'; write one of llama-server, vllm, openai, "),
        ("kind: unknown", "kind: found the text 'unknown'"),
        ("usage: 'yes'", "usage: found the text 'yes'; write one of auto, inject, observe"),
    ],
)
def test_another_word_is_a_mistake(keys: str, told: str) -> None:
    (found,) = problems(with_model(keys))
    assert f": models.a.{told}" in found


@pytest.mark.parametrize("region", ["eu central", "eu\\n", "'eu/central'"])
def test_what_is_no_region_is_a_mistake(region: str) -> None:
    text = f'peers: {{p: {{proxy: "http://p", models: [m], region: "{region}"}}}}'
    (told,) = problems(text)
    assert ": peers.p.region: found the text " in told
