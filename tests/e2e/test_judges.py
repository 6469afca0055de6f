"""The official clients before a real llama-server, behind a swap and without anybody in between.

All judges ask at once and wait for the same load; what each has at the end is what it would have
had without a proxy: the text, the calls of tools, the tokens that were counted.
"""

import socket
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest
from trains import Train

from tests.judges.asked import Asked, Seen
from tests.judges.panel import Panel, convened
from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
MARKER = "[swap-progress] "

# Judges that take part in every mode, and whether `reasoning` shows them anything.
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
TALKERS = list(JUDGES)
CALLERS = [judge for judge in JUDGES if "completion" not in judge]

# Ids of tokens of the random model: its vocabulary is three words and then the bytes.
BRACE, END = 3 + ord("{"), 0


def free_port() -> int:
    """Where the models' ports begin: apart from those of any other train on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def panel() -> Generator[Panel]:
    with convened() as panel:
        yield panel


@pytest.fixture(scope="module")
def real(
    start_shared_train: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory
) -> Train:
    """A train with two real models. One talks; the other calls a tool where there is one.

    Both take a moment to load: the tiny model alone would be ready before a word can be said.
    """
    binary, folder = ensure_llama_server(), tmp_path_factory.mktemp("models")
    slow = folder / "slow.sh"
    slow.write_text('sleep 0.5\nexec "$@"\n')
    write_tiny_gguf(folder / "tiny.gguf")
    template = Path(__file__).parents[1] / "judges" / "tools.jinja"
    cmd = (
        f"/bin/sh {slow} {binary} --host 127.0.0.1 --port ${{PORT}} -m {folder}/tiny.gguf -t 1 "
        f"-c 8192 --parallel 16 --no-webui --jinja --chat-template-file {template}"
    )
    # Of all that may come first the brace is the likeliest, and once the call is whole, the end.
    calls = f"{cmd} --logit-bias {BRACE}+1000 --logit-bias {END}+500"
    models = {"talker": {"cmd": cmd}, "caller": {"cmd": calls}}
    return start_shared_train({"progressDelay": "0s", "startPort": free_port(), "models": models})


Found = dict[tuple[str, str, str], Seen]


@pytest.fixture(scope="module")
def found(panel: Panel, real: Train) -> Found:
    """What each judge has seen, by model, mode and judge; mode `direct` is without a proxy."""
    seen: Found = {}

    import time
    def ask(model: str, judges: list[str], mode: str, url: str) -> None:
        question = Asked(
            judge="", url=url, model=model, tools=model == "caller", must_call=model == "caller"
        )
        question = replace(question, tokens=80 if question.tools else 8)
        headers = {} if mode == "direct" else {"X-Swap-Progress": mode}
        questions = [
            replace(question, judge=readable(judge, mode), headers=headers) for judge in judges
        ]
        t0=time.time()
        for judge, answer in zip(judges, panel.ask_all(questions), strict=True):
            seen[model, mode, judge] = answer
        print(model, mode, time.time()-t0)

    for mode in MODES:
        ask("caller", CALLERS, mode, real.url)
        ask("talker", TALKERS, mode, real.url)
    ask("talker", TALKERS, "direct", real.model("talker")["endpoint"])
    real.ask("swap", model="caller")
    ask("caller", CALLERS, "direct", real.model("caller")["endpoint"])
    import json, dataclasses; open("/tmp/jt/found.json","w").write(json.dumps([[*k, dataclasses.asdict(v)] for k,v in seen.items()]))
    return seen


def readable(judge: str, mode: str) -> str:
    """Return the judge that can read this: no helper reads llama-server's own responses."""
    if "response" in judge and mode in {"off", "comment", "direct"}:
        return judge.replace("helper", "raw")
    return judge


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("judge", TALKERS)
def test_the_answer_is_the_one_without_a_proxy(found: Found, judge: str, mode: str) -> None:
    direct = found["talker", "direct", judge]
    assert len(direct.text.split()) == 8
    assert direct.output_tokens == 8
    assert direct.input_tokens > 10
    assert found["talker", mode, judge].answer() == direct.answer()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("judge", CALLERS)
def test_the_call_of_a_tool_is_the_one_without_a_proxy(
    found: Found, judge: str, mode: str
) -> None:
    direct = found["caller", "direct", judge]
    assert direct.calls == [("pack", {"what": "wool"})]
    assert found["caller", mode, judge].answer() == direct.answer()


@pytest.mark.parametrize("model", ["talker", "caller"])
def test_only_reasoning_is_told_and_only_where_there_is_a_place_for_it(
    found: Found, model: str
) -> None:
    told = {key: seen.told for key, seen in found.items() if key[0] == model}
    for (_, mode, judge), lines in told.items():
        assert bool(lines) is (mode == "reasoning" and JUDGES[judge]), (mode, judge)
        assert all(line.startswith(f"{MARKER}{model}: ") for line in lines.splitlines()), judge
        assert not lines or " ready after " in lines.splitlines()[-1]
