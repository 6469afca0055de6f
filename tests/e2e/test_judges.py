"""The official clients before a real llama-server, behind a swap and without anybody in between.

All judges ask at once, in every mode, and wait for the same load; what each has at the end is what
it would have had without a proxy: the text, the calls of tools, the tokens that were counted.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest
from gates import BRACE, END, Gate, free_port, queued, tiny_server, with_tools
from trains import Train

from tests.judges.asked import Asked, Seen
from tests.judges.panel import Panel

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
MARKER = "swap-progress: "

# What is asked for in each mode, and in one more: progress of the prompt, in chunks.
WISHES = {mode: {"X-Swap-Progress": mode} for mode in MODES} | {
    "direct": {},
    "prefill": {"X-Swap-Progress": "off", "X-Prefill-Progress": "chunk"},
}
WITH_PREFILL = [*MODES, "prefill"]

# Each judge, and whether it sees the lines of mode `reasoning`.
JUDGES = {
    "openai chat raw": True,
    "openai chat helper": True,
    "openai completion raw": False,
    "openai response raw": True,
    "openai response helper": True,
    "anthropic message raw": True,
    "anthropic message helper": True,
    "langchain chat": False,
    "litellm chat": True,
    "litellm completion": False,
    "node chat raw": True,
    "node chat helper": True,
    "node completion raw": False,
    "node response raw": True,
    "node response helper": True,
}
CALLERS = [judge for judge in JUDGES if "completion" not in judge]


class Case(NamedTuple):
    """Who asks which model, in which mode; mode `direct` is without a proxy."""

    model: str
    mode: str
    judge: str


def cases(modes: Iterable[str]) -> dict[str, list[Case]]:
    """Return all cases of a model."""
    return {
        "talker": [Case("talker", mode, judge) for mode in modes for judge in JUDGES],
        "caller": [
            Case("caller", mode, judge) for mode in modes for judge in CALLERS if mode != "prefill"
        ],
    }


@pytest.fixture(scope="module")
def found(
    panel: Panel,
    start_shared_train: Callable[..., Train],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Case, Seen]:
    """What every judge has seen of two real models that take turns."""
    folder = tmp_path_factory.mktemp("models")
    gate = Gate(folder / "gate", is_open=True)
    server = gate.command(tiny_server(folder, *with_tools(), context=8192, slots=16))
    # Of all that may come first the brace is the likeliest, and once the call is whole, the end.
    calls = f"{server} --logit-bias {BRACE}+1000 --logit-bias {END}+500"
    models = {"talker": {"cmd": server}, "caller": {"cmd": calls}}
    train = start_shared_train({"progressDelay": "0s", "startPort": free_port(), "models": models})
    seen: dict[Case, Seen] = {}
    train.ask("swap", model="caller")
    for model, of_model in cases(WITH_PREFILL).items():
        gate.close()
        answers = panel.ask_all(question(case, train.url) for case in of_model)
        queued(train, **{model: len(of_model)})
        gate.open()
        seen |= zip(of_model, answers(), strict=True)
    for model, of_model in reversed(cases(["direct"]).items()):
        train.ask("swap", model=model)
        url = train.model(model)["endpoint"]
        answers = panel.ask_all(question(case, url) for case in of_model)
        seen |= zip(of_model, answers(), strict=True)
    return seen


def question(case: Case, url: str) -> Asked:
    judge, calls = case.judge, case.model == "caller"
    if "response" in judge and case.mode in {"off", "comment", "direct", "prefill"}:
        judge = judge.replace("helper", "raw")  # no helper reads llama-server's own
    return Asked(
        judge=judge,
        url=url,
        model=case.model,
        headers=WISHES[case.mode],
        tools=calls,
        must_call=calls,
        tokens=80 if calls else 8,
    )


@pytest.mark.parametrize("mode", WITH_PREFILL)
@pytest.mark.parametrize("judge", JUDGES)
def test_the_answer_is_the_one_without_a_proxy(
    found: dict[Case, Seen], judge: str, mode: str
) -> None:
    direct = found[Case("talker", "direct", judge)]
    assert len(direct.text.split()) == 8
    assert direct.output_tokens == 8
    assert direct.input_tokens > 10
    assert found[Case("talker", mode, judge)].answer() == direct.answer()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("judge", CALLERS)
def test_the_call_of_a_tool_is_the_one_without_a_proxy(
    found: dict[Case, Seen], judge: str, mode: str
) -> None:
    direct = found[Case("caller", "direct", judge)]
    assert direct.calls == [("pack", {"what": "wool"})]
    assert found[Case("caller", mode, judge)].answer() == direct.answer()


@pytest.mark.parametrize("mode", WITH_PREFILL)
@pytest.mark.parametrize("judge", JUDGES)
def test_only_reasoning_is_told_and_only_where_there_is_a_place_for_it(
    found: dict[Case, Seen], judge: str, mode: str
) -> None:
    lines = found[Case("talker", mode, judge)].told.splitlines()
    assert bool(lines) is (mode == "reasoning" and JUDGES[judge])
    assert all(line.startswith(f"{MARKER}talker: ") for line in lines)
    assert not lines or any(": ready after " in line for line in lines)
