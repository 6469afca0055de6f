"""What readers of events are told of models."""

import json

from arriero.protocol.values import ModelStatus, Snapshot, State
from arriero.protocol.worker_config import (
    ModelAbilities,
    ModelRoute,
    PeerModel,
    PeerRoute,
    WorkerConfig,
)
from arriero.worker.connections.connection import ConnectionMonitor
from arriero.worker.http.admission import Listening
from arriero.worker.leases.queries import PendingQueries
from arriero.worker.model_status import WorkerFacts
from arriero.worker.relay.context import RelayContext

ABLE = ModelAbilities(takes=("text", "image"), gives=("text",), tools=True, context=4096)
CONFIG = WorkerConfig(
    generation=1,
    models=(
        ModelRoute(model="b", aliases=("z",), name="B", capabilities=ABLE),
        ModelRoute(model="a", description="x", unlisted=True),
    ),
    peers={"p": PeerRoute(peer="p", url="http://x")},
    peer_models={"p/m": PeerModel(peer="p", model="m")},
)


async def test_models_are_told_with_what_they_can() -> None:
    service = RelayContext(
        monitor=ConnectionMonitor(), listening=Listening(any_host=True), queries=PendingQueries()
    )
    service.configure(CONFIG)
    facts = WorkerFacts(service)
    a, b, peer = json.loads(facts.model_status())

    nothing = {"name": "", "description": "", "unlisted": False, "peerID": ""}
    assert a == nothing | {"id": "a", "state": "stopped", "description": "x", "unlisted": True}
    able = {"in": ["text", "image"], "out": ["text"], "tools": True, "context": 4096}
    assert b == nothing | {
        "id": "b",
        "name": "B",
        "state": "stopped",
        "aliases": ["z"],
        "capabilities": able,
        "context_length": 4096,
    }
    assert (peer["id"], peer["peerID"], peer["state"]) == ("p/m", "p", "")

    states: dict[State, str] = {"draining": "stopping", "starting": "starting", "ready": "ready"}
    for seq, (state, said) in enumerate(states.items(), 1):
        models = (ModelStatus(model="b", state=state, since=0.0),)
        service.view.restart(Snapshot(epoch="e", seq=seq, t=0.0, models=models))
        assert [it["state"] for it in json.loads(facts.model_status())] == ["stopped", said, ""]
