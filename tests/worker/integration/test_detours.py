"""Requests that have more to say or to ask: selectors, profiles, filters, places, keep_alive."""

import json
import re
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace

from arriero.protocol.lease import (
    Deselect,
    FromSupervisor,
    KeepAlive,
    Leave,
    PreviewOrder,
    PreviewOutcome,
    ProfileAnswer,
    ProfileOrder,
    Report,
    Select,
    Selected,
    Want,
    Welcome,
)
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import (
    BodyFilters,
    BodyRule,
    ModelRoute,
    PeerModel,
    PeerRoute,
    ProfileRoute,
    SelectorRoute,
)
from tests.worker.rig import OpenRig, Rig, post, rig_options

MODELS = (
    ModelRoute(model="m", aliases=("em",)),
    ModelRoute(model="n", send_as="real-n"),
)
SELECTORS = (
    SelectorRoute(selector="fixed", strategy="pin", targets=("em", "n")),
    SelectorRoute(selector="any", strategy="warm", targets=("m", "n")),
    SelectorRoute(selector="secret", strategy="pin", targets=("m",), unlisted=True),
)
PROFILES = (
    ProfileRoute(profile="night", pins={"m": "n", "new": "any", "em": None}),
    ProfileRoute(profile="day", description="x", pins={"new": "m"}),
)

pytestmark = rig_options(models=MODELS, selectors=SELECTORS, profiles=PROFILES)


def sent_to(rig: Rig) -> list[Any]:
    """The bodies that the upstream got."""
    return [json.loads(exchange.body) for exchange in rig.upstream.exchanges]


async def answer(rig: Rig, body: dict[str, Any], path: bytes = b"/v1/chat/completions") -> bytes:
    return await rig.ask(post(json.dumps(body).encode(), path=path))


def filtered(**by_id: dict[str, Any]) -> BodyFilters:
    """What strips `top_k`, sets `a.b`, and sets more for requests by some names."""
    return BodyFilters(
        strip_params=("top_k",),
        set_params={"a.b": msgspec.Raw(b"1")},
        set_params_by_id={
            name.replace("_", ":"): {k: msgspec.Raw(json.dumps(v).encode()) for k, v in it.items()}
            for name, it in by_id.items()
        },
    )


# --- selectors -----------------------------------------------------------------------------------


async def test_a_pin_is_resolved_without_asking(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        await answer(rig, {"model": "fixed"})
        assert (await rig.record()).model == "m"
        assert sent_to(rig) == [{"model": "em"}]
        assert rig.count(Select) == 0


async def test_the_supervisor_chooses_and_hears_of_the_end(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, rig, {"model": "any"})
            asked = await rig.heard(Select)
            rig.say(Selected(ask=asked.ask, target="n"))
            want = await rig.heard(Want)
            assert (asked.selector, want.model) == ("any", "n")
            assert rig.count(Deselect) == 0
            rig.grant(want)
        assert (await rig.heard(Deselect)).ask == asked.ask
        record = await rig.record()
        assert (record.model, record.asked) == ("n", "any")
        assert sent_to(rig) == [{"model": "real-n"}]


async def test_no_target_left_is_a_503(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post(b'{"model":"any"}'))
            asked = await rig.heard(Select)
            rig.say(Selected(ask=asked.ask))
            got = await stream.receive_some()
        assert got.startswith(b"HTTP/1.1 503 ")
        assert b"cannot choose a model for 'any'" in got
        assert (await rig.heard(Deselect)).ask == asked.ask


async def test_a_silent_supervisor_leaves_the_first_target(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        got = await answer(rig, {"model": "any"})
        assert got.startswith(b"HTTP/1.1 200 ")
        assert (await rig.record()).model == "m"
        assert rig.count(Deselect) == 1  # it may have heard all the same


async def test_a_client_that_leaves_is_counted_no_more(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(b'{"model":"any"}'))
            asked = await rig.heard(Select)
            rig.say(Selected(ask=asked.ask, target="m"))
            await rig.heard(Want)
        assert (await rig.heard(Deselect)).ask == asked.ask
        await rig.heard(Leave)


# --- another model in the place of one ------------------------------------------------------------

BLOCKED = (
    ModelRoute(
        model="big",
        send_as="real-big",
        filters=BodyFilters(
            strip_params=("top_k",),
            set_params={"seed": msgspec.Raw(b"1")},
            set_params_by_id={"big": {"min_p": msgspec.Raw(b"1")}},
        ),
    ),
    ModelRoute(
        model="x",
        concurrency_limit=3,
        filters=BodyFilters(
            strip_params=("top_p",),
            set_params={"seed": msgspec.Raw(b"2")},
            set_params_by_id={"x": {"stop": msgspec.Raw(b"[]")}},
        ),
    ),
)
NAMED_RULES = (
    BodyRule(model="big", set={"user": msgspec.Raw(b'"big"')}),
    BodyRule(model="x", set={"user": msgspec.Raw(b'"x"')}),
)
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n--B--\r\n'
)
FORM_TYPE = b"Content-Type: multipart/form-data; boundary=B"


def asks(model: bytes) -> list[bytes]:
    """Requests of all kinds for a model."""
    asked = b'{"model":"%b", "top_k":1,"top_p":2 , "messages":[]}' % model
    long = asked.replace(b"[]", b'[{"role":"user","content":"%b"}]' % (b"x" * 300_000))
    return [
        post(asked),
        post(asked.replace(b"}", b',"stream":true}')),
        post(long),
        post(asked, path=b"/api/chat"),
        post(FORM % model, FORM_TYPE, path=b"/v1/audio/transcriptions"),
        post(b'{"contents":[]}', path=b"/v1beta/models/%b:generateContent?a=b" % model),
        post(b'{"messages":[]}', path=b"/model/%b/converse" % model),
        post(b"{}", path=b"/upstream/%b/slots/0?model=%b" % (model, model)),
    ]


def sent_bytes(rig: Rig) -> list[bytes]:
    """What the upstream got, but for what is another in each request, and where pages are."""
    changing = rb"(?im)^(traceparent|x-request-id|host):[^\r]*\r\n"
    return [re.sub(changing, b"", one.head) + one.body for one in rig.upstream.exchanges]


async def test_what_another_model_serves_is_asked_as_by_its_name(open_rig: OpenRig) -> None:
    async with open_rig(models=BLOCKED, rules=NAMED_RULES, selectors=(), profiles=()) as rig:
        for request in asks(b"x"):
            await rig.ask(request)
        named, rig.upstream.exchanges = sent_bytes(rig), []
        await rig.record(len(named) - 1)  # or one of them could be told among those that come
        rig.grants = False
        wants = rig.count(Want)
        for number, request in enumerate(asks(b"big")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.ask, request)
                want = await rig.heard(Want, wants + number + 1)
                rig.grant(replace(want, model="x"))
        await rig.record(2 * len(named) - 2)  # what goes to a page is not counted
        await rig.heard(Leave, 2 * len(named))  # each has left its place
        served = sent_bytes(rig)

    assert b'"model":"x"' in served[0]
    assert b'"user":"x"' in served[0]
    assert served[-1].endswith(b"{}")
    assert served[:-1] == named[:-1]
    assert served[-1] == named[-1].replace(b"?model=x", b"?model=big")  # its server's own business
    assert {(one.model, one.asked) for one in rig.records[-5:]} == {("x", "big")}


async def test_what_a_selector_or_a_pin_chose_may_be_served_by_another(open_rig: OpenRig) -> None:
    options: dict[str, Any] = {
        "selectors": (SelectorRoute(selector="any", strategy="warm", targets=("x", "big")),),
        "profiles": (ProfileRoute(profile="p", pins={"pinned": "big"}),),
        "profile": "p",
    }
    async with open_rig(models=BLOCKED, rules=NAMED_RULES, **options) as rig:
        await rig.ask(asks(b"x")[0])
        rig.grants = False
        for number, name in enumerate((b"any", b"pinned"), 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.ask, asks(name)[0])
                if name == b"any":
                    rig.say(Selected(ask=(await rig.heard(Select)).ask, target="big"))
                want = await rig.heard(Want, number)
                assert want.model == "big"
                rig.grant(replace(want, model="x"))
        named, *served = sent_bytes(rig)
    assert served == [named, named]


# --- profiles ------------------------------------------------------------------------------------


async def in_force(rig: Rig, profile: str | None) -> None:
    """Let the worker follow that profile, as the supervisor does."""
    rig.config = replace(rig.config, generation=rig.config.generation + 1, profile=profile)
    rig.say(Welcome(config=rig.config, snapshot=rig.snapshot))


async def test_a_pin_goes_before_all_other_names(open_rig: OpenRig) -> None:
    async with open_rig(profile="night") as rig:
        await answer(rig, {"model": "m"})
        assert sent_to(rig) == [{"model": "real-n"}]


async def test_a_pin_is_followed_before_filters_act(open_rig: OpenRig) -> None:
    models = (ModelRoute(model="f", filters=filtered()), ModelRoute(model="m"))
    profiles = (ProfileRoute(profile="p", pins={"m": "f", "f": "m"}),)
    async with open_rig(models=models, selectors=(), profiles=profiles, profile="p") as rig:
        for name in ("m", "f"):
            await answer(rig, {"model": name, "top_k": 1})
        assert sent_to(rig) == [{"model": "f", "a": {"b": 1}}, {"model": "m", "top_k": 1}]
        assert (await rig.record()).model == "f"


async def test_a_pin_may_lead_to_a_selector(open_rig: OpenRig) -> None:
    async with open_rig(profile="night") as rig:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, rig, {"model": "new"})
            asked = await rig.heard(Select)
            rig.say(Selected(ask=asked.ask, target="m"))
        # pins do not chain: the target means what it is
        assert sent_to(rig) == [{"model": "m"}]


async def test_a_pin_without_a_target_is_switched_off(open_rig: OpenRig) -> None:
    async with open_rig(profile="night") as rig:
        got = await answer(rig, {"model": "em"})
        assert got.startswith(b"HTTP/1.1 404 ")
        assert b"the profile 'night' has it switched off" in got


async def test_profiles_are_shown_and_chosen_by_http(open_rig: OpenRig) -> None:
    async def choose(rig: Rig, name: str, *said: FromSupervisor) -> bytes:
        body = b'{"name":%b}' % name.encode()
        head = b"PUT /api/profiles/active HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        async with await rig.connect() as stream:
            await stream.send_all(head % len(body) + body)
            if said:
                order = await rig.heard(ProfileOrder)
                for message in said:
                    rig.say(replace(message, ask=order.ask))
            data = b""
            while more := await stream.receive_some():
                data += more
        return data

    async with open_rig() as rig:
        shown = await rig.ask(b"GET /api/profiles HTTP/1.1\r\nHost: x\r\n\r\n")
        assert json.loads(shown.partition(b"\r\n\r\n")[2]) == {
            "active": None,
            "profiles": [
                {"id": "day", "description": "x", "pins": {"new": "m"}},
                {"id": "night", "description": "", "pins": {"m": "n", "new": "any", "em": None}},
            ],
        }
        assert (await choose(rig, "5")).startswith(b"HTTP/1.1 400 ")
        await in_force(rig, "day")
        chosen = await choose(rig, '"day"', ProfileAnswer(ask=0))
        assert json.loads(chosen.partition(b"\r\n\r\n")[2]) == {"active": "day"}
        error = ErrorInfo(code="unknown_profile", message="there is no profile 'x'")
        rig.received.clear()
        refused = await choose(rig, '"x"', ProfileAnswer(ask=0, error=error))
        assert refused.startswith(b"HTTP/1.1 404 ")
        assert b"there is no profile 'x'" in refused


async def test_listings_have_selectors_and_new_pins(open_rig: OpenRig) -> None:
    async with open_rig(profile="day") as rig:
        shown = await rig.ask(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        found = {it["id"]: it for it in json.loads(shown.partition(b"\r\n\r\n")[2])["data"]}

        assert list(found) == ["any", "fixed", "m", "n", "new"]
        assert found["any"]["meta"] == {
            "llamaswap": {"type": "selector", "strategy": "warm", "targets": ["m", "n"]}
        }
        assert found["new"]["meta"] == {"llamaswap": {"type": "profile", "modelID": "m"}}


# --- filters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("f", {"model": "f", "a": {"b": 1}}),
        ("f:high", {"model": "f:high", "a": {"b": 1}, "effort": "high"}),
    ],
)
async def test_filters_act_by_the_name_that_is_used(
    open_rig: OpenRig, name: str, sent: dict[str, Any]
) -> None:
    filters = filtered(f_high={"effort": "high"})
    model = ModelRoute(model="f", aliases=("f:high",), filters=filters)
    async with open_rig(models=(model,), selectors=(), profiles=()) as rig:
        got = await answer(rig, {"model": name, "top_k": 1})
        assert got.startswith(b"HTTP/1.1 200 ")
        assert sent_to(rig) == [sent]


async def test_filters_act_on_long_bodies(open_rig: OpenRig) -> None:
    model = ModelRoute(model="f", filters=filtered())
    async with open_rig(models=(model,), selectors=(), profiles=()) as rig:
        text = "x" * 600_000
        await answer(rig, {"model": "f", "top_k": 1, "prompt": text, "stream": False})
        assert sent_to(rig) == [{"model": "f", "prompt": text, "stream": False, "a": {"b": 1}}]


RULES = (
    BodyRule(
        model="f*",
        path="/v1/chat/*",
        headers=(("X-Team", "r*"),),
        body={"a.b": msgspec.Raw(b"1")},
        set={"hit": msgspec.Raw(b"true")},
    ),
)


async def test_rules_act_after_the_filters(open_rig: OpenRig) -> None:
    model = ModelRoute(model="f", filters=filtered())
    async with open_rig(models=(model,), selectors=(), profiles=(), rules=RULES) as rig:
        text = "x" * 300_000
        for more in ({}, {"prompt": text}):
            body = json.dumps({"model": "f", **more}).encode()
            await rig.ask(post(body, b"X-Team: red", path=b"/v1/chat/completions"))
        await answer(rig, {"model": "f"})
        assert sent_to(rig) == [
            {"model": "f", "a": {"b": 1}, "hit": True},
            {"model": "f", "prompt": text, "a": {"b": 1}, "hit": True},
            {"model": "f", "a": {"b": 1}},
        ]


async def test_what_would_go_upstream_is_said_without_sending_it(open_rig: OpenRig) -> None:
    model = ModelRoute(model="f", send_as="real", filters=filtered())
    choice = SelectorRoute(selector="any", strategy="warm", targets=("f",))
    async with open_rig(models=(model,), selectors=(choice,), profiles=(), rules=RULES) as rig:
        team = (("X-Team", "red"),)
        body = '{"model": "any", "top_k": 1}'
        rig.say(PreviewOrder(ask=1, path="/v1/chat/completions?x=1", headers=team, body=body))
        told = await rig.heard(PreviewOutcome)
        assert (told.model, told.path, told.is_changed) == ("f", "/v1/chat/completions?x=1", True)
        assert json.loads(told.body) == {"model": "real", "a": {"b": 1}, "hit": True}
        refused = (
            ("/v1/chat/completions", "{", "cannot read the body as JSON"),
            ("/v1/chat/completions", '{"model":"x"}', "cannot find a model named 'x'"),
            ("/nowhere", "{}", "there is no such route"),
            ("no path", "{}", "cannot"),
        )
        for count, (path, text, words) in enumerate(refused, 2):
            rig.say(PreviewOrder(ask=count, path=path, headers=(), body=text))
            assert words in (await rig.heard(PreviewOutcome, count)).problem
        assert sent_to(rig) == []


async def test_filters_of_a_peer_act(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        peer = PeerRoute(peer="p", url=rig.upstream.url, filters=filtered(x={"temperature": 0}))
        rig.config = replace(
            rig.config,
            generation=2,
            peers={"p": peer},
            peer_models={name: PeerModel(peer="p", model="x") for name in ("x", "p/x")},
        )
        rig.say(Welcome(config=rig.config, snapshot=rig.snapshot))
        while not (await answer(rig, {"model": "p/x", "top_k": 1})).startswith(b"HTTP/1.1 200 "):
            pass  # it has not followed yet
        assert sent_to(rig) == [{"model": "x", "a": {"b": 1}, "temperature": 0}]


async def test_what_cannot_be_set_is_refused(open_rig: OpenRig) -> None:
    model = ModelRoute(model="f", filters=filtered())
    async with open_rig(models=(model,), selectors=(), profiles=()) as rig:
        got = await answer(rig, {"model": "f", "a": 5})
        assert got.startswith(b"HTTP/1.1 400 ")
        assert b"within 'a'" in got


# --- places --------------------------------------------------------------------------------------

LIMITED = (ModelRoute(model="m", concurrency_limit=1),)
FULL = ErrorInfo(
    code="concurrency_limit", message="model m cannot take it", transient=True, position=3
)


async def test_each_request_on_a_limited_model_asks_for_a_place(open_rig: OpenRig) -> None:
    async with open_rig(models=LIMITED, selectors=(), profiles=()) as rig:
        for count in (1, 2):
            assert (await answer(rig, {"model": "m"})).startswith(b"HTTP/1.1 200 ")
            want = await rig.heard(Want, count)
            assert (await rig.heard(Leave, count)).request == want.request


async def test_no_place_is_a_429_with_position_and_reason(open_rig: OpenRig) -> None:
    async with open_rig(models=LIMITED, selectors=(), profiles=()) as rig:
        rig.grants = False
        async with await rig.connect() as stream:
            await stream.send_all(post(b'{"model":"m","stream":true}'))
            rig.refuse(await rig.heard(Want), FULL)
            got = await stream.receive_some()
        assert got.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        head, _, body = got.partition(b"\r\n\r\n")
        assert b"\r\nRetry-After: 1\r\n" in head
        assert b"\r\nX-Queue-Position: 3\r\n" in head
        assert json.loads(body)["error"] == {
            "message": "model m cannot take it",
            "type": "rate_limit_error",
            "param": None,
            "code": "concurrency_limit",
        }
        assert rig.count(Leave) == 0


# --- keep_alive ----------------------------------------------------------------------------------


async def test_the_supervisor_hears_how_long_a_model_is_kept(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        await answer(rig, {"model": "m", "keep_alive": "1m30s"})
        kept = await rig.heard(KeepAlive)
        assert (kept.model, kept.lease, kept.keep_s, kept.in_flight) == ("m", 1, 90.0, 0)
        report = await rig.heard(Report, rig.count(Report) + 2)
        assert report.used == ()  # what was said counts as its use

        await answer(rig, {"model": "m", "keep_alive": -1})
        await answer(rig, {"model": "m"})
        assert rig.count(KeepAlive) == 1


async def test_a_keep_alive_that_means_nothing_is_refused(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        got = await answer(rig, {"model": "m", "keep_alive": "soon"})
        assert got.startswith(b"HTTP/1.1 400 ")
        assert b"cannot tell how long the model is to be kept" in got
