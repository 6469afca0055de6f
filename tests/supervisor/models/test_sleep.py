"""Models that sleep, as processes with the API of vLLM."""

import json
from pathlib import Path

import pytest
import trio

from arriero.protocol.lease import Grant, Refuse
from arriero.protocol.values import Phase, State
from arriero.supervisor.models.start import sleeper
from arriero.supervisor.progress.server_report import read_report_line
from arriero.supervisor.scheduling.messages.events import Released, UnloadRequested
from arriero.supervisor.slots.sleep import change_of_sleep
from tests.supervisor.train import SERVER, Train, open_train

REPORT = b'cmd_child_to_router:state:{"state":"%b","payload":null}'


def config(folder: Path, *options: str, **more: object) -> str:
    """Models `a`, which can sleep, and `b`, of which one runs at a time."""
    a = f"{SERVER} --sleep-mode --stamp {folder / 'stamps'} {' '.join(options)}"
    models = {"a": {"cmd": a, "kind": "vllm", "sleep": True, **more}, "b": {"cmd": SERVER}}
    return f"models: {json.dumps(models)}"


def stamps(folder: Path) -> list[str]:
    """What the processes of `a` did."""
    told = [line.split()[0] for line in (folder / "stamps").read_text().splitlines()]
    return [event for event in told if event in {"spawn", "sleep", "wake_up", "term", "exit"}]


async def turn(train: Train, model: str) -> Grant:
    """Have one request served."""
    grant = await train.ask(model)
    assert isinstance(grant, Grant), grant
    train.dispatcher.handle(Released("w1", model, grant.lease))
    return grant


async def gets_to(train: Train, model: str, state: State) -> None:
    await train.dispatcher.wait_until(lambda engine: engine.state(model) == state)


async def test_model_sleeps_for_another_and_is_woken(tmp_path: Path) -> None:
    phases: list[Phase] = []
    async with open_train(tmp_path, config(tmp_path, "--sleep-s", "0.05")) as train:

        def look() -> None:
            progress = train.dispatcher.engine.models(0, 0)[0].progress
            if progress is not None:
                phases.append(progress.phase)

        first = await turn(train, "a")
        await turn(train, "b")
        assert train.dispatcher.engine.state("a") == "asleep"
        assert train.dispatcher.engine.running() == ["b", "a"]
        with trio.CancelScope() as watching:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(train.follow, look)
                again = await turn(train, "a")
                watching.cancel()
        assert stamps(tmp_path) == ["spawn", "sleep", "wake_up"]

    assert again.endpoint == first.endpoint
    assert phases[-1] == "waking"


@pytest.mark.parametrize("trouble", ["--sleep-fails", "--insomnia"])
async def test_sleepless_model_is_stopped(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine it has to be asked by then.
    monkeypatch.setattr(sleeper, "SLEEP_LIMIT_S", 4.0)
    async with open_train(tmp_path, config(tmp_path, trouble)) as train:
        await turn(train, "a")
        await turn(train, "b")
        assert train.dispatcher.engine.state("a") == "stopped"
        await turn(train, "a")

    assert stamps(tmp_path)[:5] == ["spawn", "sleep", "term", "exit", "spawn"]


async def test_model_that_does_not_wake_is_started_anew(tmp_path: Path) -> None:
    async with open_train(tmp_path, config(tmp_path, "--wake-fails")) as train:
        first = await turn(train, "a")
        await turn(train, "b")
        again = await turn(train, "a")
        assert stamps(tmp_path) == ["spawn", "sleep", "wake_up", "term", "exit", "spawn"]

    assert again.lease != first.lease


async def test_slow_waking_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_train(tmp_path, config(tmp_path, "--sleep-s", "0.5")) as train:
        await turn(train, "a")
        await turn(train, "b")
        monkeypatch.setattr(sleeper, "WAKE_LIMIT_S", 0.05)
        await turn(train, "a")

    assert stamps(tmp_path).count("spawn") == 2


async def test_death_in_sleep_costs_a_cold_start(tmp_path: Path) -> None:
    async with open_train(tmp_path, config(tmp_path)) as train:
        await turn(train, "a")
        await turn(train, "b")
        status = train.dispatcher.engine.models(0, 0)[0]
        assert status.pid is not None
        await trio.run_process(["kill", "-9", str(status.pid)])
        await gets_to(train, "a", "stopped")
        assert isinstance(await train.ask("a"), Grant | Refuse)

    assert stamps(tmp_path).count("spawn") == 2


async def test_unloading_ends_a_sleeping_model(tmp_path: Path) -> None:
    async with open_train(tmp_path, config(tmp_path)) as train:
        await turn(train, "a")
        await turn(train, "b")
        train.dispatcher.handle(UnloadRequested("a"))
        await gets_to(train, "a", "stopped")

    assert stamps(tmp_path) == ["spawn", "sleep", "term", "exit"]


async def test_ttl_goes_on_while_it_sleeps(tmp_path: Path) -> None:
    async with open_train(tmp_path, config(tmp_path, ttl=1)) as train:
        await turn(train, "a")
        await turn(train, "b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(train.dispatcher.keep_time)
            await gets_to(train, "a", "stopped")
            nursery.cancel_scope.cancel()

    assert stamps(tmp_path) == ["spawn", "sleep", "term", "exit"]


@pytest.mark.parametrize(
    ("line", "reports", "sleeps"),
    [
        (REPORT % b"sleeping", True, True),
        (REPORT % b"ready", True, False),
        (REPORT % b"loading", True, None),
        (b"srv handle_sleep: server is entering sleeping state", True, None),
        (b"srv handle_sleep: server is entering sleeping state", False, True),
        (b"srv handle_sleep: server is exiting sleeping state", False, False),
        (b"srv all slots are idle", False, None),
    ],
)
def test_llama_server_tells_of_its_sleep(line: bytes, reports: bool, sleeps: bool | None) -> None:
    assert change_of_sleep(read_report_line(line), line, reports=reports) is sleeps
