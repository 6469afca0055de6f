"""What the page gets: itself, its files, who looks, how all stands, and what it may order."""

import gzip
import hashlib
import re
from typing import TypeVar

import pytest
from msgspec.structs import replace

from arriero.protocol.control.base import ControlReply, ControlRequest, Done
from arriero.protocol.control.models import (
    ExplainReply,
    ExplainRequest,
    HoldReply,
    HoldRequest,
    PinRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
)
from arriero.protocol.control.settings import (
    ConfigFile,
    ConfigReply,
    ConfigRequest,
    ReloadReply,
    ReloadRequest,
)
from arriero.protocol.values import ConfigChanges
from arriero.protocol.worker_config import ClientKey, ModelRoute, PeerModel, WorkerConfig
from arriero.worker.feeds.live_state import LivePosition
from tests.worker.server.test_management_api import NAMED, Told, Worker, known, pages

ReplyT = TypeVar("ReplyT", bound=ControlReply)
HTML = "Accept: text/html,application/xhtml+xml"


async def test_the_page_is_there_for_anybody() -> None:
    async with pages(known(api_keys=("alice",))) as ask:
        for path, status, where in (("/ui", 307, "/ui/"), ("/upstream", 302, "/ui/models")):
            answer = await ask("GET", path, "Authorization: Bearer alice")
            assert (answer.status, answer.all("location")) == (status, [where])
        for path, line in (("/", HTML), ("/ui/", ""), ("/ui/models", ""), ("/ui/logs/a/b", "")):
            page = await ask("GET", path, *filter(None, [line]))
            assert page.status == 200
            assert page.all("content-type") == ["text/html; charset=utf-8"]
            [policy] = page.all("content-security-policy")
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert page.all("x-content-type-options") == ["nosniff"]
            assert page.all("referrer-policy") == ["no-referrer"]
            assert not re.search(
                rb"<script(?! (type=\"module\" )?src=)|<style|style=|\son\w+=", page.body
            )
            assert b"<li><span" not in page.body  # names of models are for who shows a key
        assert (await ask("GET", "/ui/nothing")).status == 404
    async with pages(known()) as ask:
        assert b'<span class="name">m</span>' in (await ask("GET", "/", HTML)).body


async def test_its_files_may_be_kept_for_ever() -> None:
    async with pages(known(api_keys=("alice",))) as ask:
        page = (await ask("GET", "/ui/")).body.decode()
        paths = sorted(set(re.findall(r'"(/ui/static/[^"]+)"', page)))
        assert len(paths) > 5
        total = len(gzip.compress(page.encode()))
        for path in paths:
            found = await ask("GET", path, "Accept-Encoding: gzip, br;q=0")
            assert found.status == 200
            assert "immutable" in found.all("cache-control")[0]
            plain = await ask("GET", path)
            unpacked = gzip.decompress(found.body) if found.all("content-encoding") else found.body
            assert unpacked == plain.body
            total += len(found.body)
        assert total <= 150 * 1024
        tree = paths[0].split("/")[3]
        for path in ("0/main.js", f"{tree}/%2e%2e/shell.py", "x", f"{tree}/"):
            assert (await ask("GET", f"/ui/static/{path}")).status == 404


async def test_a_key_says_what_it_is_good_for() -> None:
    digest = hashlib.sha256(b"k").hexdigest()
    key = ClientKey(name="laptop", sha256=digest, scopes=("infer", "admin"), models=("m*",))
    config = WorkerConfig(generation=1, models=(ModelRoute(model="m"),), client_keys=(key,))
    async with pages(Worker(config), is_admin_here=False) as ask:
        told = (await ask("GET", "/api/whoami", "Authorization: Bearer k")).said
        live = await ask("GET", "/api/live", "Authorization: Bearer k")
        nobody = await ask("GET", "/api/whoami")
    async with pages(known()) as ask:
        anybody = (await ask("GET", "/api/whoami")).said

    assert (told["name"], told["keys"], told["models"]) == ("laptop", True, ["m*"])
    assert told["scopes"] == ["infer"]
    assert (live.status, nobody.status) == (403, 401)
    assert (anybody["keys"], anybody["scopes"]) == (False, ["admin", "infer", "read"])


class Obeying:
    """A supervisor that does whatever it is told, and notes it."""

    def __init__(self) -> None:
        self.asked: list[ControlRequest] = []

    async def __call__(
        self, request: ControlRequest, kind: type[ReplyT], *, within_s: float
    ) -> ReplyT:
        self.asked.append(request)
        match request:
            case ExplainRequest(model=model):
                reply: ControlReply = ExplainReply(
                    model=model, state="ready", action="serve", stops=(), ahead=(), why="it is"
                )
            case SwapRequest(model=model):
                reply = SwapReply(model=model, state="starting")
            case ConfigRequest():
                reply = ConfigReply(
                    generation=1,
                    files=(ConfigFile(name="c.yaml", text="a: b"),),
                    remarks=(),
                    more=0,
                    changes=None,
                    keys=(),
                    plain_keys=0,
                )
            case ReloadRequest():
                reply = ReloadReply(generation=2, applied=True, changes=ConfigChanges())
            case PinRequest():
                reply = Done()
            case _:
                reply = HoldReply(devices=("gpu0",))
        assert isinstance(reply, kind)
        return reply


async def test_a_model_of_peers_is_explained() -> None:
    peer_models = NAMED.peer_models | {"q/m": PeerModel(peer="peer", model="m")}
    there = Worker(replace(NAMED, peer_models=peer_models, places={"m": ("peer/m", "q/m")}))
    supervisor = there.service.ask = Obeying()
    async with pages(there) as ask:
        for name in ("m", "peer/m", "b"):
            assert (await ask("GET", f"/api/models/explain/{name}")).status == 200
        assert (await ask("GET", "/api/models/explain/chosen")).status == 409
    assert supervisor.asked == [ExplainRequest(model=name) for name in ("m", "peer/m", "b")]


async def test_orders_reach_the_supervisor() -> None:
    there = Worker(NAMED)
    supervisor = there.service.ask = Obeying()
    async with pages(there) as ask:
        explained = await ask("GET", "/api/models/explain/short")
        loaded = await ask("POST", "/api/models/load/org/a")
        held = await ask("POST", "/api/devices/hold", body='{"device":"gpu0","for_s":60}')
        pinned = await ask("POST", "/api/models/pin/short")
        unpinned = await ask("POST", "/api/models/unpin/b")
        released = await ask("POST", "/api/devices/release", body="{}")
        config = await ask("GET", "/api/config")
        reloaded = await ask("POST", "/api/config/reload?drain=true")
        for method, path, body, status in (
            ("POST", "/api/models/load/none", "", 404),
            ("POST", "/api/models/load/chosen", "", 409),
            ("POST", "/api/models/load/peer/m", "", 409),
            ("GET", "/api/models/explain/none", "", 404),
            ("POST", "/api/devices/hold", '{"for_s":0}', 400),
            ("POST", "/api/devices/hold", "[]", 400),
            ("POST", "/api/devices/release", "", 400),
        ):
            assert (await ask(method, path, body=body)).status == status, path

    assert explained.said["action"] == "serve"
    assert loaded.said == {"model": "org/a", "state": "starting"}
    assert held.said == released.said == {"devices": ["gpu0"]}
    assert pinned.said == unpinned.said == {"msg": "ok"}
    assert supervisor.asked == [
        ExplainRequest(model="org/a"),
        SwapRequest(model="org/a", wait=False),
        HoldRequest(device="gpu0", for_s=60.0, wait=False),
        PinRequest(model="org/a", pinned=True),
        PinRequest(model="b", pinned=False),
        ReleaseRequest(device=None),
        ConfigRequest(),
        ReloadRequest(drain=True),
    ]
    assert config.said["files"] == [{"name": "c.yaml", "text": "a: b", "is_cut": False}]
    assert reloaded.said["generation"] == 2


@pytest.mark.parametrize(
    ("after", "position"),
    [
        ("", None),
        ("e0.4.2", LivePosition("e0", 4, 2)),
        ("e0.4", None),
        ("e0.-4.2", None),
        ("e0.4.2.1", None),
        ("%00.4.2", None),
        ("e0.99999999999999999999.1", None),
    ],
)
async def test_how_all_stands_is_told_from_where_one_was(
    after: str, position: LivePosition | None
) -> None:
    there = known()
    told = there.service.read_logs = Told()
    async with pages(there) as ask:
        answer = await ask("GET", f"/api/live?after={after}")
        await ask("GET", "/api/live?parts=models,queue")

    assert answer.all("content-type") == ["text/event-stream"]
    assert told.after == [position, None]
    assert told.parts == [(), ("models", "queue")]
