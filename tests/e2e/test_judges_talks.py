"""Talks of three turns, each behind a swap: what the official clients send back.

They keep what they were told and send it along with the next turn. What then reaches the model is
what would have reached it in a talk without progress; only the user may quote such lines.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from gates import Gate, free_port, queued
from trains import Train

from tests.judges.asked import Asked, Seen
from tests.judges.panel import Panel
from tests.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

UPSTREAM = ROOT / "tests" / "judges" / "recording_upstream.py"
MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
MARKER = "swap-progress: "
QUOTE = f"{MARKER}qwen: loading 42% (12 s)\n"

# Each with the way its users keep a talk; and whether reasoning is in what it keeps.
JUDGES = {
    "openai chat raw": True,
    "openai chat helper": True,
    "openai response raw": True,
    "openai response helper": True,
    "anthropic message helper": True,
    "langchain chat": False,
    "litellm chat": True,
    "node chat helper": True,
    "node response helper": True,
}
TURNS: list[dict[str, Any]] = [
    {"say": "Pack the wool."},
    {"say": "", "result": f"It is on top.\n{QUOTE}"},
    {"say": f"What does this line of my log mean?\n{QUOTE}"},
]


class Talk:
    """All that one judge has said and seen in one mode."""

    def __init__(self, judge: str, mode: str) -> None:
        self.judge, self.mode = judge, mode
        self.name = f"{judge}, {mode}"
        self.seen: list[Seen] = []
        self.bodies: list[Any] = []  # as they reached the model


@pytest.fixture(scope="module")
def talks(
    panel: Panel,
    start_shared_train: Callable[..., Train],
    scripted: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], Talk]:
    """All talks, by judge and mode; the model is loaded anew for every turn."""
    folder = tmp_path_factory.mktemp("talks")
    gate, record = Gate(folder / "gate"), folder / "record"
    command = f"{sys.executable} {UPSTREAM} --port ${{PORT}} --record {record}"
    train = start_shared_train(
        {
            "progressDelay": "0s",
            "startPort": free_port(),
            "models": {"packer": {"cmd": gate.command(command)}, "other": {"cmd": scripted()}},
        }
    )
    found = {(judge, mode): Talk(judge, mode) for mode in MODES for judge in JUDGES}
    for turn in TURNS:
        gate.close()
        train.ask("swap", model="other")
        answers = panel.ask_all(
            Asked(
                judge=talk.judge,
                url=train.url,
                model="packer",
                headers={"X-Swap-Progress": talk.mode, "X-Talk": talk.name},
                talk=talk.name,
                tools=True,
                tokens=100,
                **turn,
            )
            for talk in found.values()
        )
        queued(train, packer=len(found))
        gate.open()
        for talk, seen in zip(found.values(), answers(), strict=True):
            talk.seen.append(seen)
    by_name = {talk.name: talk for talk in found.values()}
    for line in record.read_text().splitlines():
        request = json.loads(line)
        by_name[request["talk"]].bodies.append(request["body"])
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("judge", JUDGES)
def test_what_reaches_the_model_is_what_a_talk_without_progress_is(
    talks: dict[tuple[str, str], Talk], judge: str, mode: str
) -> None:
    talk = talks[judge, mode]
    assert [seen.error for seen in talk.seen] == ["", "", ""]
    assert [seen.odd for seen in talk.seen] == [[], [], []]
    assert talk.seen[0].calls == [("pack", {"what": "wool"})]
    assert [seen.text for seen in talk.seen[1:]] == ["It is packed.", "It is packed."]
    assert talk.bodies == talks[judge, "off"].bodies
    first, second, third = (json.dumps(body) for body in talk.bodies)
    assert [MARKER in body for body in (first, second, third)] == [False, True, True]
    assert third.count(MARKER) == 2  # of the tool and of the user: nobody else's
    assert json.dumps(QUOTE)[1:-1] in second


@pytest.mark.parametrize("judge", JUDGES)
def test_something_was_told_that_could_have_been_sent_back(
    talks: dict[tuple[str, str], Talk], judge: str
) -> None:
    """Else the other test would prove nothing."""
    talk = talks[judge, "reasoning"]
    for seen in talk.seen:
        assert (MARKER in seen.told) is JUDGES[judge]
        assert not JUDGES[judge] or seen.told.count("\n") > 1
