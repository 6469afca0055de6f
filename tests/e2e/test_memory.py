"""Real llama-servers in main memory, under a declared budget."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from trains import PATIENCE_S, Train, eventually

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.e2e

MIB = 1024**2


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command of a real llama-server with a tiny model, which takes some 50 MiB."""
    binary = ensure_llama_server()
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_tiny_gguf(path)
    return f"{binary} --host 127.0.0.1 --port ${{PORT}} -m {path} -t 1 --parallel 1 --no-webui"


def config(command: str, total_mib: int, **models: dict[str, Any]) -> dict[str, Any]:
    """Models that differ in their contexts, so that each is learned by itself."""
    made = {
        name: {"cmd": f"{command} -c {512 + 64 * number}", **more}
        for number, (name, more) in enumerate(models.items())
    }
    return {"memory": "auto", "devices": {"ram": {"total": f"{total_mib}MiB"}}, "models": made}


def ready(train: Train) -> set[str]:
    return {m["model"] for m in train.ask("status")["models"] if m["state"] == "ready"}


def ram(train: Train) -> dict[str, Any]:
    devices: list[dict[str, Any]] = train.ask("status")["devices"]
    return next(one for one in devices if one["device"] == "ram")


def load(train: Train, model: str) -> dict[str, Any]:
    """Load a model; return its status once it is known what it uses."""
    answer = train.ask("swap", model=model)
    assert answer["ok"], answer
    found: dict[str, Any] = eventually(
        lambda: (found := train.model(model))["memory_source"] == "learned" and found,
        what=f"{model} is learned",
    )
    return found


def test_as_many_stay_as_fit_and_the_cheapest_goes(ride: Callable[..., Train], tiny: str) -> None:
    """First they are estimated, then learned; then the budget is set so that two of them fit."""
    train = ride(config(tiny, 4000, a={}, b={}, c={}))
    before = train.ask("explain", model="a")
    assert (before["models"][0]["source"], before["action"]) == ("estimated", "start")

    sizes = {name: load(train, name)["memory"]["ram"] for name in "abc"}
    assert ready(train) == {"a", "b", "c"}
    assert all(20 * MIB < size < 200 * MIB for size in sizes.values())
    assert ram(train)["reserved"] == sum(sizes.values())

    two = (sum(sizes.values()) - min(sizes.values()) // 2) // MIB
    train.ask("unload", model="a")
    train.reload(config(tiny, two, a={}, b={}, c={}))
    told = train.ask("explain", model="a")
    (victim,) = told["stops"]
    with train.events("evicted/") as next_event:
        load(train, "a")
        event = next_event()
        while event["type"] == "heartbeat":
            event = next_event()

    assert ready(train) == {"a", "b", "c"} - {victim}
    assert (event["model"], event["made_room_for"]) == (victim, "a")
    assert re.match(rf"evicted {victim}: idle \d+ s, \d+ MiB; a needed \d+ MiB of", event["text"])
    assert event["text"] in train.log_text()
    assert ram(train)["reserved"] <= ram(train)["total"]


def test_a_pinned_model_stays_and_others_are_served_by_who_is_there(
    ride: Callable[..., Train], tiny: str
) -> None:
    declared: dict[str, Any] = {"memory": {"ram": "150MiB"}}
    models: dict[str, dict[str, Any]] = {
        "kept": declared,
        "big": {**declared, "onBlocked": "refuse"},
    }
    train = ride(config(tiny, 200, **models))
    models["kept"] = {**declared, "pin": "always"}
    train.reload(config(tiny, 200, **models))
    eventually(lambda: ready(train) == {"kept"}, what="what is pinned is there by itself")

    refused = train.chat("big")
    assert refused.status_code == 503
    assert "beside kept (pinned: always)" in refused.text

    def running() -> list[tuple[str, str, dict[str, int]]]:
        found = httpx.get(f"{train.url}/running", timeout=PATIENCE_S).json()["running"]
        return [(one["model"], one["pin"], one["memory"]) for one in found]

    kept = ("kept", "always", {"ram": 150 * MIB})
    eventually(lambda: running() == [kept], what="a worker that knows it, too")

    models["big"]["onBlocked"] = {"use": "kept"}
    train.reload(config(tiny, 200, **models))
    assert train.chat("big").status_code == 200
    assert ready(train) == {"kept"}
    models["kept"] = declared
    train.reload(config(tiny, 200, **models))  # else it would come back for ever


def test_model_sleeps_if_what_it_keeps_leaves_room(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    """A server with the API of vLLM; the device is one that nobody can see."""
    stamps = tmp_path / "stamps"
    a = {
        "cmd": scripted("--sleep-mode", "--stamp", str(stamps)),
        "kind": "vllm",
        "sleep": True,
        "memory": {"gpu0": "80MiB", "ram": "60MiB"},
    }
    b = {"cmd": scripted(), "memory": {"gpu0": "80MiB", "ram": "60MiB"}}
    devices = {"gpu0": {"total": "100MiB"}, "ram": {"total": "1GiB"}}
    running: dict[str, Any] = {"memory": "auto", "devices": devices, "models": {"a": a, "b": b}}
    train = ride(running)
    assert train.chat("a").status_code == 200
    with train.events("evicted/") as next_event:
        assert train.chat("b").status_code == 200
        event = next_event()
        while event["type"] == "heartbeat":
            event = next_event()

    assert (event["model"], event["keeps"]) == ("a", {})
    assert re.match(r"put to sleep a: .*, and what it keeps will be seen; b needed", event["text"])
    sleeping = train.model("a")
    assert (sleeping["state"], sleeping["memory_source"]) == ("asleep", "learned")
    kept = sleeping["memory"]["ram"]
    assert 5 * MIB < kept < 60 * MIB
    assert ram(train)["reserved"] >= kept + 60 * MIB

    assert train.chat("a").status_code == 200  # woken, for which `b` goes
    told = train.ask("explain", model="b")
    (fit,) = [one for one in told["models"] if one["model"] == "a"]
    assert (fit["verdict"], "while it sleeps" in fit["why"]) == ("sleeps", True)

    a["sleepMemory"] = {"gpu0": "50MiB", "ram": "30MiB"}
    train.reload(running)
    assert train.chat("b").status_code == 200
    assert train.model("a")["state"] == "stopped"
    lines = [line.split()[0] for line in stamps.read_text().splitlines()]
    did = [what for what in lines if what in {"spawn", "sleep", "wake_up", "term"}]
    assert did == ["spawn", "sleep", "wake_up", "term"]


def test_files_of_likely_models_are_kept(ride: Callable[..., Train], tiny: str) -> None:
    """One process keeps them, as long as that is wanted."""
    plain = config(tiny, 4000, a={}, b={}, c={})
    train = ride(plain)
    assert train.ask("status")["kept"] is None
    load(train, "a")

    def kept() -> dict[str, Any]:
        found: dict[str, Any] = train.ask("status")["kept"]
        return found

    train.reload({**plain, "keepInRam": "100MiB"})
    eventually(lambda: kept()["held"] > 0, what="a file is kept")
    found = kept()
    size = found["models"][0]["size"]
    # All three have the same file: it is kept once, and counts once.
    assert {one["model"]: one["held"] for one in found["models"]} == dict.fromkeys("abc", size)
    assert (found["held"], found["limit"]) == (size, 100 * MIB)
    holders = [one for one in train.children() if "holder_child.py" in " ".join(one.cmdline())]
    assert len(holders) == 1
    assert ram(train)["foreign"] >= 0

    train.reload(plain)
    eventually(lambda: not holders[0].is_running(), what="nobody keeps anything")
    assert kept() is None


def test_a_held_device_is_free_until_it_is_released(ride: Callable[..., Train], tiny: str) -> None:
    train = ride(config(tiny, 4000, a={}))
    load(train, "a")

    held = train.ask("hold", device="ram", for_s=600)

    assert (held["ok"], held["unloaded"], ready(train)) == (True, ["a"], set())
    assert ram(train)["held"]
    assert not train.ask("hold", device="gpu9")["ok"]
    train.ask("swap", model="a", wait=False)
    assert "ram is held" in train.ask("explain", model="a")["why"]
    train.ask("release", device="ram")
    eventually(lambda: ready(train) == {"a"}, what="who waited is there")
