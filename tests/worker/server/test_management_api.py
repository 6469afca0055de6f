"""The management API, over real connections."""

import json
import logging
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TypeVar

import msgspec
import pytest
import trio

import arriero
from arriero.protocol.control.base import ControlReply, ControlRequest
from arriero.protocol.control.measures import HardwareRequest
from arriero.protocol.control.models import UnloadRequest
from arriero.protocol.control.requests import ActivityRequest
from arriero.protocol.lease import (
    CancelAnswer,
    CancelQuery,
    FromWorker,
)
from arriero.protocol.worker_config import (
    ModelAbilities,
    ModelRoute,
    PeerModel,
    PeerRoute,
    ProfileRoute,
    SeenFacts,
    SelectorRoute,
    WorkerConfig,
)
from arriero.supervisor.store import answers
from arriero.supervisor.store.database import ActivityDatabase
from arriero.supervisor.store.open_file import open_in_memory
from arriero.worker.apis.management.answers import OLLAMA_VERSION
from arriero.worker.apis.management.declared import PAGES
from arriero.worker.apis.openapi import described
from arriero.worker.apis.routes import ROUTES
from arriero.worker.connections.connection import Connection, ConnectionMonitor
from arriero.worker.connections.stream import SocketStream
from arriero.worker.feeds.hub import WantedLines
from arriero.worker.feeds.live_state import LivePosition
from arriero.worker.http.admission import Listening
from arriero.worker.http.auth import KeyRing
from arriero.worker.leases.queries import PendingQueries
from arriero.worker.relay.context import RelayContext
from arriero.worker.server.http1 import serve_connection
from arriero.worker.server.hypercorn_bridge import open_page_door
from arriero.worker.server.management_api import make_pages
from tests.described import mistakes
from tests.records import record

COST = Decimal("0.0105")
ReplyT = TypeVar("ReplyT", bound=ControlReply)
ALICE = (
    KeyRing(WorkerConfig(generation=1, models=(), api_keys=("alice",)))
    .caller([(b"authorization", b"Bearer alice")])
    .ident
)


class Worker:
    """What a worker knows of requests, and a supervisor that knows those that have ended.

    The supervisor is in the words of the protocol only: a real one has processes and sockets.

    Attributes:
        service: The worker's own.
        ended: Ids, the newest first.
        is_lost: The supervisor does not answer.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.service = RelayContext(
            monitor=ConnectionMonitor(),
            listening=Listening(any_host=True),
            queries=PendingQueries(answer_s=0.1),
        )
        self.service.configure(config)
        self.service.queries.say = self._answer
        self._nobody, self.service.ask = self.service.ask, self.ask
        self.ended: list[str] = []
        self.is_lost = False

    def begin(self, request_id: str, caller: str = "") -> None:
        """Let a request run until somebody ends it."""

        def end(by_client: bool) -> None:
            self.service.running.exit(request_id)
            self.ended.insert(0, request_id)

        self.service.running.enter(request_id, "", caller, end)

    def _answer(self, message: FromWorker) -> None:
        if self.is_lost:
            return
        if isinstance(message, CancelQuery):  # no other worker has it either
            self.service.queries.answered(CancelAnswer(ask=message.ask, result="unknown"))

    async def ask(self, request: ControlRequest, kind: type[ReplyT], *, within_s: float) -> ReplyT:
        """Answer what is asked of requests that have ended, as a store does."""
        if self.is_lost or not isinstance(request, ActivityRequest):
            return await self._nobody(request, kind, within_s=within_s)
        store = ActivityDatabase(open_in_memory(), None)
        store.write(record(one, cost_usd=COST) for one in reversed(self.ended))
        with closing(store.connection):
            reply = answers.activity(store.connection, request, 0)
        assert isinstance(reply, kind)
        return reply


@dataclass
class Answer:
    """What came over the wire."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def said(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> dict[str, object]:
        found = self.said["error"]
        assert isinstance(found, dict)
        return found

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name]


Ask = Callable[..., Awaitable[Answer]]


@asynccontextmanager
async def pages(worker: Worker, *, is_admin_here: bool = True) -> AsyncGenerator[Ask, None]:
    service = worker.service
    async with (
        open_page_door(make_pages(service, 0, is_admin_here=is_admin_here)) as door,
        trio.open_nursery() as nursery,
    ):

        async def ask(
            method: str, path: str, *lines: str, body: str = "", length: int | None = None
        ) -> Answer:
            ours, theirs = socket.socketpair()
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            said = len(body) if length is None else length
            head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *lines]
            raw = "\r\n".join([*head, f"Content-Length: {said}", "", ""]).encode()
            conn = Connection(SocketStream(theirs), b"", service.monitor)
            serve = partial(serve_connection, is_admin_here=is_admin_here)
            nursery.start_soon(serve, conn, service, door, None)
            data = b""
            async with stream:
                await stream.send_all(raw + body.encode())
                while more := await stream.receive_some():
                    data += more
            head_bytes, _, rest = data.partition(b"\r\n\r\n")
            status, *found = head_bytes.decode().split("\r\n")
            fields = [line.partition(": ")[::2] for line in found]
            answer = Answer(int(status.split()[1]), [(n.lower(), v) for n, v in fields], rest)
            assert mistakes(method, path, answer.status, answer.fields, rest) == []
            return answer

        with trio.fail_after(20):
            yield ask
        nursery.cancel_scope.cancel()


NAMED = WorkerConfig(
    generation=1,
    models=(ModelRoute(model="org/a", aliases=("short",)), ModelRoute(model="b")),
    peers={"peer": PeerRoute(peer="peer", url="http://127.0.0.1:1")},
    peer_models={"peer/m": PeerModel(peer="peer", model="m")},
    selectors=(SelectorRoute(selector="chosen", strategy="warm", targets=("b",)),),
)


def known(*, cors: bool | tuple[str, ...] = True, api_keys: tuple[str, ...] = ()) -> Worker:
    models = (ModelRoute(model="m"),)
    config = WorkerConfig(generation=1, models=models, cors=cors, api_keys=api_keys)
    return Worker(config)


# --- what has run --------------------------------------------------------------------------------


async def test_last_requests_are_listed_newest_first() -> None:
    there = known()
    there.ended = [f"r{number}" for number in range(150, 0, -1)]
    async with pages(there) as ask:
        usual = (await ask("GET", "/api/activity")).said["requests"]
        few = (await ask("GET", "/api/activity?limit=2")).said["requests"]

    assert isinstance(usual, list)
    assert isinstance(few, list)
    assert (len(usual), usual[0]["request_id"]) == (100, "r150")
    assert [one["request_id"] for one in few] == ["r150", "r149"]


@pytest.mark.parametrize("limit", ["0", "-1", "x", "", "1.5", "1001", "%C2%B2", "9" * 5000])
async def test_senseless_limit_is_refused(limit: str) -> None:
    async with pages(known()) as ask:
        answer = await ask("GET", f"/api/activity?limit={limit}")

    assert answer.status == 400
    assert "from 1 to 1000" in str(answer.error["message"])


async def test_null_is_no_value_of_a_query() -> None:
    async with pages(known()) as ask:
        for after in ("NULL", "0.5"):
            answer = await ask("GET", f"/api/performance?after={after}")
            assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_one_request_has_its_account() -> None:
    there = known()
    there.ended = ["r1"]
    async with pages(there) as ask:
        answer = await ask("GET", "/api/activity/r1")

    assert answer.all("content-type") == ["application/json"]
    assert (answer.said["request_id"], answer.said["cost_usd"]) == ("r1", "0.0105")


async def test_unknown_request_is_not_found() -> None:
    async with pages(known()) as ask:
        told = await ask("GET", "/api/activity/r1")
        ended = await ask("POST", "/api/requests/r1/cancel")

    for answer in (told, ended):
        assert (answer.status, answer.error["code"]) == (404, "request_not_found")
        assert "'r1'" in str(answer.error["message"])


@pytest.mark.parametrize(
    ("coded", "request_id"),
    [
        ("a%2Fb", "a/b"),
        ("a/b", "a/b"),
        ("%2F%2Fa%2F%2Fb%2F", "//a//b/"),
        ("a/cancel", "a/cancel"),
        ("%25%3F%23%22", '%?#"'),
    ],
)
async def test_an_id_may_have_any_character(coded: str, request_id: str) -> None:
    there = known()
    there.begin(request_id)
    async with pages(there) as ask:
        ended = await ask("POST", f"/api/requests/{coded}/cancel")
        told = await ask("GET", f"/api/activity/{coded}")

    assert (ended.said["request_id"], ended.said["interrupted"]) == (request_id, True)
    assert told.said["request_id"] == request_id


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/activity"), ("GET", "/api/activity/r"), ("POST", "/api/requests/r/cancel")],
)
async def test_silent_supervisor_means_try_again(method: str, path: str) -> None:
    there = known()
    there.is_lost = True
    async with pages(there) as ask:
        answer = await ask(method, path)

    assert (answer.status, answer.error["code"]) == (503, "supervisor_lost")
    assert "the supervisor does not answer" in str(answer.error["message"])
    assert answer.all("retry-after") == ["2"]


# --- the end of a request ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/requests/r/cancel", ""),
        ("/v1/streaming_query/interrupt", '{"request_id":"r"}'),
    ],
)
async def test_a_request_is_ended_once(path: str, body: str) -> None:
    there = known()
    there.begin("r")
    async with pages(there) as ask:
        first = await ask("POST", path, body=body)
        again = await ask("POST", path, body=body)

    assert (first.status, again.status) == (200, 200)
    assert (first.said.pop("message"), again.said.pop("message")) != ("", "")
    assert (first.said["interrupted"], again.said["interrupted"]) == (True, False)
    assert first.said["message"] != again.said["message"]
    assert set(first.said) == {"request_id", "interrupted", "message"}


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"request_id":1}', '{"request_id":null}'])
async def test_body_without_request_id_is_refused(body: str) -> None:
    async with pages(known()) as ask:
        answer = await ask("POST", "/v1/streaming_query/interrupt", body=body)

    assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_too_large_body_is_refused_early() -> None:
    async with pages(known()) as ask:
        answer = await ask("POST", "/v1/streaming_query/interrupt", length=1024 * 1024 + 1)

    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


async def test_administrators_are_sent_to_their_own_address() -> None:
    async with pages(known(), is_admin_here=False) as ask:
        for method, path in (
            ("GET", "/unload"),
            ("GET", "/unloa%64"),
            ("POST", "/api/models/unload/m"),
            ("PUT", "/api/profiles/active"),
            ("POST", "/props?model=m"),
            ("GET", "/upstream/m/anything"),
        ):
            refused = await ask(method, path)
            assert (path, refused.status) == (path, 403)
            assert refused.error["code"] == "not_on_this_listener"
        assert (await ask("GET", "/v1/models")).status == 200


async def test_only_the_owner_may_cancel() -> None:
    there = known(api_keys=("alice", "bob"))
    there.begin("r", ALICE)
    async with pages(there) as ask:
        nobody = await ask("POST", "/api/requests/r/cancel")
        other = await ask("POST", "/api/requests/r/cancel", "Authorization: Bearer bob")
        owner = await ask("POST", "/api/requests/r/cancel", "X-Api-Key: alice")

    assert (nobody.status, other.status, owner.status) == (401, 403, 200)
    assert other.error["type"] == "permission_error"


# --- what all answers have -----------------------------------------------------------------------

ALL_KINDS = [
    ("GET", "/health", 200),
    ("HEAD", "/v1/models", 200),
    ("GET", "/api/activity/none", 404),
    ("GET", "/nothing", 404),
    ("GET", "/v1/chat/completions", 405),
    ("OPTIONS", "/v1/chat/completions", 204),
]


@pytest.mark.parametrize(("method", "path", "status"), ALL_KINDS)
async def test_every_response_has_its_request_id(method: str, path: str, status: int) -> None:
    async with pages(known()) as ask:
        named = await ask(method, path, "X-Request-Id: mine/1")
        traced = await ask(
            method, path, f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01", "X-Request-Id: a b"
        )

    assert named.status == status
    assert named.all("x-request-id") == ["mine/1"]
    assert traced.all("x-request-id") == ["ab" * 16]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/running", "/api/activity"])
async def test_head_is_get_without_body(path: str) -> None:
    async with pages(known()) as ask:
        head, get = await ask("HEAD", path), await ask("GET", path)

    assert (head.status, head.body) == (200, b"")
    assert head.all("content-length") == get.all("content-length") == [str(len(get.body))]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("GET", "/v1/messages/count_tokens", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
    ],
)
async def test_errors_have_the_paths_api_shape(
    method: str, path: str, status: int, kind: str
) -> None:
    async with pages(known()) as ask:
        answer = await ask(method, path)
        other = await ask(method, path.replace("messages", "messages_"))

    assert answer.status == status
    assert answer.said == {
        "src": "arriero",
        "type": "error",
        "error": {"type": kind, "message": str(answer.error["message"])},
    }
    assert other.error["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", {"POST"}),
        ("DELETE", "/v1/messages", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("GET", "/api/requests/r/cancel", {"POST"}),
    ],
)
async def test_wrong_method_is_told_the_right(method: str, path: str, allowed: set[str]) -> None:
    async with pages(known()) as ask:
        answer = await ask(method, path)

    assert answer.status == 405
    assert set(answer.all("allow")[0].split(", ")) == allowed


async def test_odd_spelling_of_route_is_unknown() -> None:
    async with pages(known()) as ask:
        answer = await ask("POST", "/v1/chat%2Fcompletions", body="{}")

    assert (answer.status, answer.error["code"]) == (404, "not_found")


# --- models of peers -----------------------------------------------------------------------------


async def test_peer_models_are_listed_once() -> None:
    config = WorkerConfig(
        generation=1,
        models=(ModelRoute(model="m"), ModelRoute(model="p/mine")),
        peers={"p": PeerRoute(peer="p", url="http://x")},
        peer_models={
            name: PeerModel(peer="p", model=name.removeprefix("p/"))
            for name in ("m", "big", "p/m", "p/big", "p/mine")
        },
    )
    async with pages(Worker(config)) as ask:
        listed = (await ask("GET", "/v1/models")).said["data"]
        one = (await ask("GET", "/v1/models/big")).said

    assert isinstance(listed, list)
    assert [(model["id"], model["owned_by"]) for model in listed] == [
        ("m", "arriero"),
        ("p/big", "p"),
        ("p/m", "p"),
        ("p/mine", "arriero"),
    ]
    assert one == listed[1]
    assert (one["name"], one["meta"]) == ("p: big", {"llamaswap": {"type": "peer", "peerID": "p"}})
    assert one["status"] == {"value": "unloaded"}


async def test_listing_says_all_that_is_known() -> None:
    able = ModelAbilities(takes=("text", "image"), gives=("text",), tools=True, context=32768)
    metadata = msgspec.Raw(b'{"licence":"x","type":"mine","context_length":1}')
    models = (
        ModelRoute(model="b", aliases=("z",), name="B", capabilities=able, metadata=metadata),
        ModelRoute(model="a", metadata=metadata, unlisted=True),
    )
    config = WorkerConfig(generation=1, models=models, aliases_in_list=True)
    async with pages(Worker(config)) as ask:
        entry, alias = json.loads((await ask("GET", "/models")).body)["data"]
        hidden = (await ask("GET", "/v1/models/a")).said

    assert entry == {
        "id": "b",
        "object": "model",
        "created": 0,
        "owned_by": "arriero",
        "name": "B",
        "architecture": {
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "modality": "text+image->text",
        },
        "capabilities": {"vision": True, "function_calling": True},
        "supported_parameters": ["tools", "tool_choice"],
        "context_length": 32768,
        "meta": {
            "llamaswap": {"licence": "x", "type": "model", "aliases": ["z"]},
            "n_ctx": 32768,
        },
        "status": {"value": "unloaded"},
    }
    assert (alias["id"], alias["meta"]["llamaswap"]["modelID"]) == ("z", "b")
    assert hidden["meta"] == {
        "llamaswap": {"licence": "x", "type": "model", "context_length": 1, "aliases": []}
    }


async def test_listing_says_what_was_last_seen() -> None:
    seen = SeenFacts(n_ctx=1024, n_ctx_train=8192, takes=("text", "image"), tools=True)
    declared = ModelAbilities(takes=("audio",), gives=("text",))
    models = (
        ModelRoute(model="a", last_seen=seen),
        ModelRoute(model="b", last_seen=seen, capabilities=declared),
    )
    async with pages(Worker(WorkerConfig(generation=1, models=models))) as ask:
        told, written = json.loads((await ask("GET", "/models")).body)["data"]

    assert told["capabilities"] == {"vision": True, "function_calling": True}
    assert written["capabilities"] == {"audio_transcriptions": True}  # nobody knows better
    for entry in (told, written):
        assert entry["context_length"] == entry["meta"]["n_ctx"] == 1024
        assert entry["meta"]["last_seen"] == {
            "n_ctx": 1024,
            "n_ctx_train": 8192,
            "takes": ["text", "image"],
            "tools": True,
        }


# --- models that are stopped ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "stopped", "body"),
    [
        ("GET", "/unload", None, b"OK"),
        ("POST", "/api/models/unload", None, b'{"msg":"ok"}'),
        ("POST", "/api/models/unload/org/m:q4", "org/m:q4", b"OK"),
        ("POST", "/api/models/unload/org%2Fm%3Aq4", "org/m:q4", b"OK"),
        ("POST", "/api/models/unload/short", "org/m:q4", b"OK"),
    ],
)
async def test_models_are_stopped(method: str, path: str, stopped: str | None, body: bytes) -> None:
    models = (ModelRoute(model="org/m:q4", aliases=("short",)),)
    there = Worker(WorkerConfig(generation=1, models=models))
    told = []

    async def stop(request: ControlRequest, kind: type[ReplyT], *, within_s: float) -> ReplyT:
        assert isinstance(request, UnloadRequest)
        told.append(request.model)
        return msgspec.convert({"unloaded": (), "took_s": 0.0}, kind)

    there.service.ask = stop
    async with pages(there) as ask:
        if method == "GET":
            assert ((await ask("HEAD", path)).status, told) == (200, [])
        answer = await ask(method, path)

    assert (answer.status, answer.body, told) == (200, body, [stopped])


async def test_only_models_here_are_stopped() -> None:
    config = WorkerConfig(
        generation=1,
        models=(ModelRoute(model="m"),),
        selectors=(SelectorRoute(selector="any", strategy="warm", targets=("m",)),),
        peers={"p": PeerRoute(peer="p", url="http://x")},
        peer_models={"p/big": PeerModel(peer="p", model="big")},
    )
    async with pages(Worker(config)) as ask:
        found = {
            name: (await ask("POST", f"/api/models/unload/{name}")).status
            for name in ("none", "any", "p/big", "m")
        }

    assert found == {"none": 404, "any": 409, "p/big": 409, "m": 503}  # nobody can be asked


async def test_pins_name_no_other_model_to_manage() -> None:
    pins = {"org/a": "b", "b": None}
    profiles = (ProfileRoute(profile="night", pins=pins),)
    there = Worker(msgspec.structs.replace(NAMED, profiles=profiles, profile="night"))
    told = there.service.read_logs = Told()
    stopped = []

    async def stop(request: ControlRequest, kind: type[ReplyT], *, within_s: float) -> ReplyT:
        assert isinstance(request, UnloadRequest)
        stopped.append(request.model)
        return msgspec.convert({"unloaded": (), "took_s": 0.0}, kind)

    there.service.ask = stop
    async with pages(there) as ask:
        for name in ("org/a", "short", "b"):
            assert (await ask("POST", f"/api/models/unload/{name}")).status == 200
            assert (await ask("GET", f"/logs/stream/{name}")).status == 200

    assert stopped == ["org/a", "org/a", "b"]
    assert [lines.model for lines, _ in told.wanted] == stopped


async def test_unknown_hardware_is_a_503() -> None:
    there = known()

    async def find_nothing(
        request: ControlRequest, kind: type[ReplyT], *, within_s: float
    ) -> ReplyT:
        assert isinstance(request, HardwareRequest)
        return msgspec.convert({"hardware": None}, kind)

    there.service.ask = find_nothing
    async with pages(there) as ask:
        answer = await ask("GET", "/api/hardware")

    assert (answer.status, answer.error["code"]) == (503, "model_unavailable")
    assert "a driver does not answer" in str(answer.error["message"])


# --- whatever the reference has ------------------------------------------------------------------


async def test_inflight_is_ended_in_its_words() -> None:
    there = known()
    there.begin("a/b")
    async with pages(there) as ask:
        ended = await ask("POST", "/api/inflight/a%2Fb/cancel")
        unknown = await ask("POST", "/api/inflight/x/cancel")

    assert (ended.status, ended.said) == (200, {"msg": "ok"})
    assert unknown.status == 404


async def test_small_pages_are_there() -> None:
    async with pages(known(api_keys=("k",))) as ask:
        health = await ask("GET", "/wol-health")
        icon = await ask("GET", "/favicon.ico")
        nobody = await ask("GET", "/api/version")
        version = await ask("GET", "/api/version", "Authorization: Bearer k")

    assert (health.status, health.body) == (200, b"OK")
    assert (icon.status, icon.all("content-type")) == (200, ["image/svg+xml"])
    assert nobody.status == 401
    assert version.said == {
        "version": OLLAMA_VERSION,
        "arriero": arriero.__version__,
        "commit": "",
        "build_date": "",
    }


class Told:
    """The log of a supervisor: what was asked for, and two pieces of text."""

    def __init__(self) -> None:
        self.wanted: list[tuple[WantedLines, bool]] = []
        self.after: list[LivePosition | None] = []
        self.parts: list[tuple[str, ...]] = []

    async def text(self, wanted: WantedLines) -> str:
        self.wanted.append((wanted, True))
        return "was\n"

    async def lines(self, wanted: WantedLines, *, past: bool) -> AsyncGenerator[bytes, None]:
        self.wanted.append((wanted, past))
        yield b"was\n" if past else b""
        yield b"comes\n"

    async def events(self) -> AsyncGenerator[bytes, None]:
        yield b"event:message\ndata:{}\n\n"

    async def live(
        self, after: LivePosition | None, parts: Collection[str] = ()
    ) -> AsyncGenerator[bytes, None]:
        self.after.append(after)
        self.parts.append(tuple(parts))
        yield b":\n\n"


async def test_logs_are_shown_by_name() -> None:
    there = Worker(NAMED)
    told = there.service.read_logs = Told()
    async with pages(there) as ask:
        assert (await ask("GET", "/logs", "Accept: */*")).body == b"was\n"
        led = await ask("GET", "/logs", "Accept: text/html")
        assert (led.status, led.all("location")) == (302, ["/ui/"])
        wanted = [
            ("/logs/stream", WantedLines(own=True)),
            ("/logs/stream/proxy", WantedLines(own=True)),
            ("/logs/stream/upstream?no-history", WantedLines(output=True)),
            ("/logs/stream/org%2Fa", WantedLines(output=True, model="org/a")),
            ("/logs/stream/org/a?no-history=1", WantedLines(output=True, model="org/a")),
            ("/logs/stream/short", WantedLines(output=True, model="org/a")),
        ]
        for path, lines in wanted:
            answer = await ask("GET", path)
            past = "no-history" not in path
            assert told.wanted[-1] == (lines, past)
            assert (b"was" in answer.body, b"comes" in answer.body) == (past, True)
            assert answer.all("x-accel-buffering") == ["no"]
            assert answer.all("x-content-type-options") == ["nosniff"]
            asked = len(told.wanted)
            assert (await ask("HEAD", path)).body == b""
            assert len(told.wanted) == asked
        for name in ("nobody", "peer/m", "chosen"):
            refused = await ask("GET", f"/logs/stream/{name}")
            assert refused.status == 400
        events = await ask("GET", "/api/events")
    assert (events.all("content-type"), events.all("cache-control")) == (
        ["text/event-stream"],
        ["no-cache"],
    )
    assert b"event:message\ndata:{}\n\n" in events.body


async def test_the_combined_log_is_what_is_written() -> None:
    for combined in ("proxy", "upstream", "both", "none"):
        there = Worker(msgspec.structs.replace(NAMED, combined_log=combined))
        told = there.service.read_logs = Told()
        async with pages(there) as ask:
            assert (await ask("GET", "/logs")).status == 200
        both = combined == "both"
        wanted = WantedLines(own=both or combined == "proxy", output=both or combined == "upstream")
        assert told.wanted == [(wanted, True)]


async def test_doubled_slashes_lead_to_what_is_meant() -> None:
    async with pages(known()) as ask:
        for method, path, where in (
            ("GET", "//v1//models", "/v1/models"),
            ("POST", "/v1/./chat//completions?a=//b", "/v1/chat/completions?a=//b"),
            ("HEAD", "/x/..//health", "/health"),
            ("GET", "//", "/"),
        ):
            answer = await ask(method, path)
            assert (answer.status, answer.all("location")) == (307, [where]), path
            assert (answer.body == b"") == (method == "HEAD")
        for path in ("//nothing", "//evil.example//x", "/v1/models//"):
            assert (await ask("GET", path)).status == 404


async def test_logs_without_a_supervisor_are_refused() -> None:
    async with pages(known()) as ask:
        for path in ("/logs", "/logs/stream", "/api/events"):
            assert (await ask("GET", path)).status == 503


async def test_the_description_is_for_whoever_may_ask() -> None:
    async with pages(known(api_keys=("k",))) as ask:
        nobody = await ask("GET", "/openapi.json")
        alice = await ask("GET", "/openapi.json", "Authorization: Bearer k")
    async with pages(known()) as ask:
        anybody = await ask("GET", "/openapi.json")

    assert (nobody.status, alice.body) == (401, described(has_keys=True))
    assert anybody.body == described(has_keys=False)


@pytest.mark.parametrize(
    ("accept", "kind", "begins"),
    [
        ("text/plain", "text/plain; charset=utf-8", b"arriero: no GET /no&thing here"),
        ("text/html,*/*", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("application/json, text/plain, */*", "application/json", b'{"src":"arriero","error":'),
        ("*/*", "application/json", b'{"src":"arriero","error":'),
    ],
)
async def test_error_is_told_as_it_is_accepted(accept: str, kind: str, begins: bytes) -> None:
    async with pages(known()) as ask:
        page = await ask("GET", "/no&thing", f"Accept: {accept}")
        relay = await ask("POST", "/v1/embeddings", f"Accept: {accept}", body="{")

    assert (page.status, relay.status) == (404, 400)
    for answer in (page, relay):
        assert answer.all("content-type") == [kind]
        assert b"no&thing" not in answer.body or b"html" not in answer.body
    assert page.body.startswith(begins)


async def test_every_declared_page_is_answered() -> None:
    app = make_pages(known().service, 0)
    served = {
        (method, re.sub(r"<id:\w+>", "{}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert served == {
        (method, re.sub(r"\{.*?\}", "{}", route.path))
        for route in (*PAGES, *(it for it in ROUTES.declared if it.named_in is None))
        for method in route.methods
    }


# --- pages of browsers ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/health", "/nothing", "*"])
async def test_preflight_needs_no_key(path: str) -> None:
    async with pages(known(api_keys=("k",))) as ask:
        answer = await ask(
            "OPTIONS",
            path,
            "Origin: https://a.example",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: x-prefill-progress, x-stainless-os",
        )

    assert (answer.status, answer.body) == (204, b"")
    assert answer.all("access-control-allow-headers") == ["x-prefill-progress, x-stainless-os"]
    assert answer.all("access-control-allow-origin") == ["*"]
    assert answer.all("vary") == ["Origin, Access-Control-Request-Headers"]


@pytest.mark.parametrize("path", ["/v1/models", "/nothing", "/api/activity"])
async def test_allowed_page_may_read_responses(path: str) -> None:
    async with pages(known(api_keys=("k",))) as ask:
        asked = await ask("GET", path, "Origin: https://a.example")
        plain = await ask("GET", path)

    assert asked.all("access-control-allow-origin") == ["*"]
    assert "X-Request-Id" in asked.all("access-control-expose-headers")[0]
    assert not [name for name, _ in plain.fields if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/nothing"])
async def test_refused_page_is_told_what_helps(path: str) -> None:
    async with pages(known(cors=False)) as ask:
        preflight = await ask("OPTIONS", path, "Origin: https://a.example")
        real = await ask("GET", path, "Origin: https://a.example")

    for answer in (preflight, real):
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
        assert "cors: ['https://a.example']" in str(answer.error["message"])
        assert not [name for name, _ in answer.fields if name.startswith("access-control")]


async def test_listed_origin_is_named_with_vary() -> None:
    async with pages(known(cors=("https://a.example",))) as ask:
        wanted = "Access-Control-Request-Method: GET"
        preflight = await ask("OPTIONS", "/v1/models", "Origin: https://a.example", wanted)
        real = await ask("GET", "/v1/models", "Origin: https://a.example")
        plain = await ask("GET", "/v1/models")

    assert preflight.all("vary") == ["Origin, Access-Control-Request-Headers"]
    assert real.all("vary") == plain.all("vary") == ["Origin"]
    for answer in (preflight, real):
        assert answer.all("access-control-allow-origin") == ["https://a.example"]
    assert plain.all("access-control-allow-origin") == []


async def test_failing_page_shows_no_stack_trace(caplog: pytest.LogCaptureFixture) -> None:
    there = known()
    there.service.view = None  # type: ignore[assignment]
    with caplog.at_level(logging.CRITICAL):
        async with pages(there) as ask:
            answer = await ask("GET", "/v1/models", "Origin: https://a.example")

    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "NoneType" not in answer.body.decode()
    assert len(answer.all("x-request-id")) == len(answer.all("access-control-allow-origin")) == 1


# --- where nothing is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/embedding", 404, "no POST /embedding here; did you mean /embeddings?"),
        ("GET", "/api/tag", 404, "no GET /api/tag here; did you mean /api/tags?"),
        ("GET", "/nothing?x=y", 404, "no GET /nothing here; GET / says what there is"),
        ("GET", "/a%0d%0ab%1b[2J", 404, "no GET /a??b?[2J here; GET / says what there is"),
        ("DELETE", "/health", 405, "no DELETE /health here, only GET, HEAD"),
        ("GET", "/v1/embeddings", 405, "no GET /v1/embeddings here, only POST"),
        ("DELETE", "/", 405, "no DELETE / here, only GET, HEAD, POST"),
    ],
)  # fmt: skip
async def test_error_names_method_and_path(
    method: str, path: str, status: int, message: str
) -> None:
    async with pages(known()) as ask:
        answer = await ask(method, path)

    assert (answer.status, answer.error["message"]) == (status, message)


async def test_nearly_anthropic_path_gets_its_error() -> None:
    async with pages(known()) as ask:
        answer = await ask("POST", "/v1/v1/messages")

    assert answer.said["type"] == "error"
    assert answer.error == {
        "type": "not_found_error",
        "message": "no POST /v1/v1/messages here; did you mean /v1/messages?",
    }


async def test_a_long_path_is_cut() -> None:
    async with pages(known()) as ask:
        answer = await ask("GET", "/" + "x" * 5000)

    assert (answer.status, len(str(answer.error["message"])) < 200) == (404, True)


async def test_root_introduces_itself_to_the_authorized() -> None:
    async with pages(known()) as ask:
        answer = await ask("GET", "/")
    async with pages(known(api_keys=("alice",))) as ask:
        nobody = await ask("GET", "/")
        alice = await ask("GET", "/", "Authorization: Bearer alice")

    assert answer.status == alice.status == 200
    assert answer.all("content-type") == ["text/plain; charset=utf-8"]
    assert answer.body == alice.body
    text = answer.body.decode()
    assert all(word in text for word in ("arriero", "/v1/chat/completions", "docs/streams.md"))
    assert text.endswith("Models:\n  m\n")
    assert nobody.status == 401
    assert b"m\n" not in nobody.body
