from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import WorkerConfig
from arriero.worker.apis.management.declared import OPEN_PAIRS, VISITED
from arriero.worker.apis.management.page_routes import OPEN_BELOW
from arriero.worker.errors import BadRequest, Forbidden, Unauthorized
from arriero.worker.http.admission import Admission, Listening, listening_at
from arriero.worker.http.request_head import RequestHead
from arriero.worker.http.request_target import split_target

LOOPBACK = listening_at(ip_address("127.0.0.1"), "mybox")
EVERYWHERE = listening_at(ip_address("::"), "MyBox.lan")
LAN = listening_at(ip_address("192.168.1.5"), "mybox.lan")
UNIX = Listening(any_host=True)


def asked(
    *fields: tuple[bytes, bytes], method: bytes = b"POST", target: bytes = b"/v1/responses"
) -> RequestHead:
    head = RequestHead()
    for name, value in fields:
        head.on_header(name, value)
    head.method = method
    head.authority, head.path = split_target(method, target)
    return head


def admission(
    listening: Listening = LOOPBACK,
    *,
    hosts: tuple[str, ...] = (),
    cors: bool | tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
) -> Admission:
    config = WorkerConfig(generation=1, models=(), allowed_hosts=hosts, cors=cors, api_keys=keys)
    return Admission(config, listening, OPEN_PAIRS, VISITED, OPEN_BELOW)


def lets_in(gate: Admission, head: RequestHead, *, websocket: bool = False) -> bool:
    """Whether a request may act; twice, for what was found the first time may be remembered."""
    found = []
    for _ in range(2):
        try:
            gate.check(head, websocket=websocket)
        except Forbidden:
            found.append(False)
        else:
            found.append(True)
    assert found[0] == found[1]
    return found[0]


# --- hosts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("listening", [LOOPBACK, EVERYWHERE, LAN, UNIX])
@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LocalHost:8080",
        b"localhost.",
        b"a.b.localhost",
        b"127.0.0.1",
        b"127.8.9.1:1",
        b"[::1]:8080",
        b"[0::1]",
        b"[::ffff:127.0.0.1]",
        b"",
    ],
)
def test_a_loopback_name_is_ours_wherever_is_listened(listening: Listening, host: bytes) -> None:
    assert lets_in(admission(listening), asked((b"host", host)))


@pytest.mark.parametrize("listening", [LOOPBACK, EVERYWHERE, LAN])
@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:8080",
        b"localhost.evil.example",
        b"evillocalhost",
        b"127.0.0.1.evil.example",
        b"127.1",
        b"2130706433",
        b"0x7f.0.0.1",
        b"xmybox.lan",
    ],
)
def test_a_name_that_could_be_a_page_s_is_not_ours(listening: Listening, host: bytes) -> None:
    assert not lets_in(admission(listening), asked((b"host", host)))
    assert not lets_in(admission(listening), asked((b"host", host)), websocket=True)
    absolute = asked((b"host", b"localhost"), target=b"http://" + host + b"/v1/responses")
    assert not lets_in(admission(listening), absolute)


@pytest.mark.parametrize(
    ("listening", "host", "is_ours"),
    [
        (LOOPBACK, b"192.168.1.5", False),
        (LOOPBACK, b"0.0.0.0", False),
        (LOOPBACK, b"mybox", False),
        (LAN, b"192.168.1.5:8080", True),
        (LAN, b"[::ffff:192.168.1.5]", True),
        (LAN, b"192.168.1.6", False),
        (LAN, b"mybox.lan", True),
        (LAN, b"MYBOX", True),
        (LAN, b"mybox.local", True),
        (EVERYWHERE, b"10.1.2.3", True),
        (EVERYWHERE, b"[fd00::7]:8080", True),
        (EVERYWHERE, b"0.0.0.0:8080", True),
        (EVERYWHERE, b"mybox", True),
        (UNIX, b"anything.example", True),
    ],
)
def test_what_is_listened_on_is_ours(listening: Listening, host: bytes, is_ours: bool) -> None:
    assert lets_in(admission(listening), asked((b"host", host))) is is_ours


@pytest.mark.parametrize(
    ("listed", "host", "is_ours"),
    [
        ("llm.example", b"LLM.example:443", True),
        ("llm.example", b"a.llm.example", False),
        (".llm.example", b"a.b.llm.example", True),
        (".llm.example", b"llm.example", True),
        (".llm.example", b"evil-llm.example", False),
        ("10.0.0.1", b"10.0.0.1:80", True),
        ("fd00::1", b"[FD00:0::1]", True),
        ("*", b"evil.example", True),
    ],
)
def test_what_is_listed_is_ours(listed: str, host: bytes, is_ours: bool) -> None:
    assert lets_in(admission(hosts=(listed,)), asked((b"host", host))) is is_ours


def test_the_refusal_says_what_to_write() -> None:
    with pytest.raises(Forbidden, match=r"allowedHosts: \['my-box.lan'\]"):
        admission().check(asked((b"host", b"My-Box.lan:8080")))
    with pytest.raises(Forbidden) as caught:
        admission().check(asked((b"host", b"a" * 255)))
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("listening", [LOOPBACK, UNIX])
@pytest.mark.parametrize("host", [b"[::1", b"a b", b"a:b", b"u@a", b"a/b", b"\xff"])
def test_a_host_that_is_none_is_no_host_of_anybody(listening: Listening, host: bytes) -> None:
    with pytest.raises(BadRequest):
        admission(listening).check(asked((b"host", host)))


# --- pages ----------------------------------------------------------------------------------------

HERE = (b"host", b"here:8080")


def page(origin: bytes, *more: tuple[bytes, bytes]) -> RequestHead:
    return asked(HERE, (b"origin", origin), *more)


@pytest.mark.parametrize(
    ("origin", "cors", "may_ask"),
    [
        (b"http://here:8080", False, True),
        (b"HTTP://HERE:8080", False, True),
        (b"http://here", False, False),
        (b"http://there:8080", False, False),
        (b"null", False, False),
        (b"http://localhost:3000", False, False),
        (b"http://localhost:3000", (), True),
        (b"http://there:8080", (), False),
        (b"http://there:8080", ("http://there:8080",), True),
        (b"", (), False),
        (b"http://there:8080", True, True),
        (b"null", True, True),
    ],
)
@pytest.mark.parametrize("site", [(), ((b"sec-fetch-site", b"cross-site"),)])
@pytest.mark.parametrize("websocket", [False, True])
def test_a_page_asks_only_if_it_may(
    origin: bytes,
    cors: bool | tuple[str, ...],
    may_ask: bool,
    site: tuple[tuple[bytes, bytes], ...],
    websocket: bool,
) -> None:
    gate = admission(hosts=("here",), cors=cors)
    assert lets_in(gate, page(origin, *site), websocket=websocket) is may_ask


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        (b"https://here", b"here", True),
        (b"https://here", b"here:443", True),
        (b"http://here:80", b"here", True),
        (b"https://here", b"here:80", False),
        (b"http://[::1]:8080", b"[0::1]:8080", True),
        (b"ftp://here", b"here", False),
        (b"http://here/x", b"here", False),
    ],
)
def test_a_page_of_the_host_that_is_asked_may_ask(
    origin: bytes, host: bytes, is_same: bool
) -> None:
    gate = admission(hosts=("here",), cors=False)
    assert lets_in(gate, asked((b"host", host), (b"origin", origin))) is is_same


VISIT = ((b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document"))


@pytest.mark.parametrize(
    ("site", "method", "target", "more", "may_ask"),
    [
        (b"same-origin", b"POST", b"/v1/responses", (), True),
        (b"none", b"GET", b"/api/activity", VISIT, True),
        (b"cross-site", b"GET", b"/v1/models", (), False),
        (b"same-site", b"GET", b"/v1/models", (), False),
        (b"CROSS-site", b"POST", b"/v1/responses", VISIT, False),
        (b"whatever", b"GET", b"/v1/models", (), False),
        (b"cross-site", b"GET", b"/v1/models?x", VISIT, True),
        (b"cross-site", b"GET", b"/", VISIT, True),
        (b"cross-site", b"GET", b"/api/activity", VISIT, False),
        (b"cross-site", b"POST", b"/v1/models", VISIT, False),
        (b"cross-site", b"GET", b"/v1/models", VISIT[:1], False),
        (
            b"cross-site",
            b"GET",
            b"/v1/models",
            (VISIT[0], (b"sec-fetch-dest", b"iframe")),
            False,
        ),
    ],
)
def test_without_an_origin_the_browser_s_word_on_the_site_counts(
    site: bytes, method: bytes, target: bytes, more: tuple[tuple[bytes, bytes], ...], may_ask: bool
) -> None:
    head = asked(HERE, (b"sec-fetch-site", site), *more, method=method, target=target)
    assert lets_in(admission(hosts=("here",)), head) is may_ask
    assert lets_in(admission(hosts=("here",), cors=True), head)


def test_a_visit_opens_no_websocket_and_two_words_on_the_site_are_none() -> None:
    visit = asked(HERE, (b"sec-fetch-site", b"cross-site"), *VISIT, method=b"GET", target=b"/")
    assert not lets_in(admission(hosts=("here",)), visit, websocket=True)
    two = asked(HERE, (b"sec-fetch-site", b"none"), (b"sec-fetch-site", b"cross-site"))
    assert not lets_in(admission(hosts=("here",)), two)


def test_who_is_no_browser_is_not_touched() -> None:
    head = asked((b"host", b"localhost"), (b"user-agent", b"Mozilla/5.0"))
    assert lets_in(admission(cors=False), head)


def test_what_a_page_is_told_names_the_key_to_set() -> None:
    with pytest.raises(Forbidden, match=r"cors: \['https://a.example'\]"):
        admission().check(asked((b"host", b"localhost"), (b"origin", b"https://a.example")))


# --- keys -----------------------------------------------------------------------------------------

PREFLIGHT = ((b"origin", b"app://a"), (b"access-control-request-method", b"POST"))


@pytest.mark.parametrize(
    ("method", "target", "fields", "is_open"),
    [
        (b"GET", b"/health", (), True),
        (b"HEAD", b"/health?x=y", (), True),
        (b"GET", b"http://localhost/health", (), True),
        (b"POST", b"/health", (), False),
        (b"GET", b"/health/", (), False),
        (b"GET", b"//health", (), False),
        (b"GET", b"/%68ealth", (), False),
        (b"GET", b"/", (), True),  # browsers only, see `management_api`
        (b"GET", b"/ui/train", (), True),
        (b"HEAD", b"/ui/static/x/y.js", (), True),
        (b"POST", b"/ui/train", (), False),
        (b"GET", b"/uix", (), False),
        (b"POST", b"/", (), False),
        (b"GET", b"/favicon.ico", (), True),
        (b"GET", b"/wol-health", (), True),
        (b"GET", b"/running", (), False),
        (b"OPTIONS", b"/v1/chat/completions", PREFLIGHT, True),
        (b"OPTIONS", b"*", PREFLIGHT, True),
        (b"OPTIONS", b"/v1/chat/completions", PREFLIGHT[:1], False),
        (b"OPTIONS", b"/v1/chat/completions", PREFLIGHT[1:], False),
        (b"OPTIONS", b"/v1/chat/completions", (), False),
        (b"GET", b"/v1/models", PREFLIGHT, False),
    ],
)
def test_what_is_open_is_a_pair_of_method_and_path(
    method: bytes, target: bytes, fields: tuple[tuple[bytes, bytes], ...], is_open: bool
) -> None:
    gate = admission(keys=("right",))
    head = asked(*fields, method=method, target=target)
    if is_open:
        gate.check(head)
    else:
        with pytest.raises(Unauthorized):
            gate.check(head)
    with pytest.raises(Unauthorized):  # whatever it is, a WebSocket is another thing
        gate.check(head, websocket=True)
    gate.check(asked(*fields, (b"x-api-key", b"right"), method=method, target=target))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"host", b"origin", b"sec-fetch-site", b"authorization", b"x"]),
            st.binary(max_size=20),
        ),
        max_size=5,
    ),
    st.sampled_from([b"GET", b"POST", b"OPTIONS"]),
    st.booleans(),
)
def test_whatever_is_said_without_a_key_there_is_no_way_in(
    fields: list[tuple[bytes, bytes]], method: bytes, websocket: bool
) -> None:
    with pytest.raises((BadRequest, Forbidden, Unauthorized)):
        admission(keys=("right",)).check(asked(*fields, method=method), websocket=websocket)
