"""The real llama-server, real (tiny) models, and the official client as the judge."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from gates import Gate
from trains import PATIENCE_S, Train, eventually

from tests.bench.curve import LIMIT, Curve, commands
from tests.official import openai
from tests.real.parts import MODELS, ensure_llama_server, ensure_models

pytestmark = pytest.mark.e2e

MARKER = "swap-progress: "
QUESTION: list[Any] = [{"role": "user", "content": "Who drives a train of llamas?"}]


def two_models(llama: Callable[..., str]) -> dict[str, Any]:
    """The configuration of the real models `tiny` and `small`."""
    tiny = llama("tiny", "--embeddings --pooling mean --metrics")
    return {
        "progress": "reasoning",
        "progressDelay": "0s",
        "scrapeMetrics": True,
        "models": {"tiny": {"cmd": tiny, "aliases": ["t"]}, "small": {"cmd": llama("small")}},
    }


@pytest.fixture
def real(ride: Callable[..., Train], llama: Callable[..., str]) -> Train:
    """A train with these."""
    return ride(two_models(llama))


def client_of(train: Train) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{train.url}/v1", api_key="none", timeout=PATIENCE_S)


@pytest.fixture
def client(real: Train) -> openai.OpenAI:
    return client_of(real)


def told(
    client: openai.OpenAI, model: str, *, when_told: Callable[[], None] | None = None
) -> tuple[str, str, str | None]:
    """Return progress, answer and finish reason of one streamed chat.

    `when_told` is called for the first progress.
    """
    progress, answer, finish = "", "", None
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, stream=True, max_tokens=8
    )
    for chunk in stream:
        (choice,) = chunk.choices
        progress += getattr(choice.delta, "reasoning_content", None) or ""
        if progress and when_told is not None:
            when_told()
        answer += choice.delta.content or ""
        finish = choice.finish_reason or finish
    return progress, answer, finish


def test_two_models_take_turns_and_the_waiting_client_is_told(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    """One of them waits before it loads until its client has heard of it."""
    gate = Gate(tmp_path / "gate")
    config = two_models(llama)
    config["models"]["small"]["cmd"] = gate.command(llama("small"))
    real = ride(config)
    client = client_of(real)
    for model, other in (("tiny", "small"), ("small", "tiny"), ("t", "small")):
        opens = gate.open if model == "small" else None
        progress, answer, finish = told(client, model, when_told=opens)

        lines = progress.splitlines()
        assert all(line.startswith(f"{MARKER}{model}: ") for line in lines)
        if model == "small":  # the tiny one is often ready before a word can be said
            assert len(lines) >= 2  # behind the last of them, how far a slow one is with its prompt
            assert [line for line in lines if re.search(r"ready after \d+\.\d s$", line)]
        assert answer
        assert finish == "length"
        assert real.model(other)["state"] == "stopped"
    # What they have told of themselves is known, whether they run or not; and what one tells now.
    for entry in httpx.get(f"{real.url}/v1/models", timeout=PATIENCE_S).json()["data"]:
        assert entry["context_length"] == 256  # of one of two slots
        assert entry["meta"]["last_seen"]["n_params"] > 0
    metrics = httpx.get(f"{real.url}/metrics", timeout=PATIENCE_S).text
    assert '\nllamacpp:tokens_predicted_total{model="tiny"} ' in metrics


def test_second_visit_reads_its_prompt_from_the_cache(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "slots"
    folder.mkdir(mode=0o700)
    models = {
        size: {"cmd": llama(size, f"--slot-save-path {folder}"), "saveSlots": True}
        for size in ("tiny", "small")
    }
    train = ride({"models": models})
    asked = {"messages": [{"role": "user", "content": "A train of llamas. " * 4}], "max_tokens": 1}

    def cached(model: str) -> tuple[int, int]:
        answer = train.chat(model, **asked).json()
        assert "usage" in answer, answer
        usage = answer["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]

    assert cached("small")[0] == 0
    assert cached("tiny")[0] == 0
    tokens, of = cached("small")

    assert tokens >= of - 1
    eventually(lambda: "slots.used model=small helped=yes" in train.log_text())
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_server_that_falls_asleep_by_itself_makes_room(
    ride: Callable[..., Train], llama: Callable[..., str]
) -> None:
    models = {
        "tiny": {"cmd": llama("tiny", "--sleep-idle-seconds 1"), "sleep": True},
        "small": {"cmd": llama("small")},
    }
    train = ride({"models": models})

    assert train.chat("tiny").status_code == 200
    eventually(lambda: train.model("tiny")["state"] == "asleep")
    pid = train.model("tiny")["pid"]
    assert train.chat("small").status_code == 200
    assert train.model("tiny")["state"] == "asleep"
    assert train.chat("tiny").status_code == 200
    assert train.model("tiny")["pid"] == pid
    assert train.model("small")["state"] == "stopped"


@pytest.mark.nightly  # by day: scheduling/test_engine_memory and models/test_exit_reason
def test_server_that_runs_out_of_memory_takes_the_place_of_another(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    """Whoever comes second is limited so that the allocation for its tensors really fails.

    As on a machine that has enough for one of them, whatever was declared. Its size is raised then,
    so that the first one has to go for it, and it is tried once more.
    """
    script = tmp_path / "room_for_one.sh"
    limited = "flock -n 9 || ulimit -d 110000"  # KiB; they need 170,000, and 58,000 at a time
    script.write_text(f'exec 9>>{tmp_path / "first"}\n{limited}\nexec "$@"\n')
    models = {
        name: {
            "cmd": f"/bin/sh {script} {llama('small', '--no-mmap', f'--alias {name}')}",
            "memory": {"ram": "40MiB"},
        }
        for name in "ab"
    }
    train = ride({"memory": "auto", "devices": {"ram": {"total": "1GiB"}}, "models": models})
    assert train.ask("swap", model="a")["ok"]

    answer, log = train.chat("b"), train.log_text()

    assert answer.status_code == 200, answer.text + log
    assert [train.model(name)["state"] for name in "ab"] == ["stopped", "ready"]
    assert "model.size_raised model=b" in log
    assert "evicted a: " in log
    assert log.count("model.starting model=b") == 2


def test_percentages_never_fall_and_never_reach_100(real: Train, client: openai.OpenAI) -> None:
    seen = []
    for model in ("tiny", "small", "tiny", "small"):
        progress, _, _ = told(client, model)
        percents = [int(number) for number in re.findall(r"(\d+)%", progress)]
        assert percents == sorted(percents)
        seen += percents
    assert all(0 <= percent < 100 for percent in seen)


def test_a_second_start_knows_how_long_it_will_take(real: Train, client: openai.OpenAI) -> None:
    told(client, "small")
    real.ask("unload")
    with real.events("progress/small\n") as next_event:
        told(client, "small")
        step = next_event()
        while step["type"] != "progress":
            step = next_event()

    # From its first moment on; if it takes longer than the first one did, nobody knows any more.
    assert step["progress"]["eta_s"] is not None, step


def learned_curves(train: Train, model: str, loads: int) -> Iterator[Curve]:
    """The bars of loads of which it is known how long they take."""
    topics = (f"progress/{model}\n", f"state/{model}\n")
    for number in range(loads + 1):
        train.ask("unload")
        eventually(lambda: train.model(model)["state"] == "stopped")
        with train.events(*topics) as next_event:
            train.ask("swap", model=model, wait=False)
            events = [next_event()]
            while events[-1].get("state") != "ready":
                events.append(next_event())
        if number:
            yield Curve.of(events)


def test_the_bar_of_a_learned_load_is_true(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    """A busy machine disturbs one load, or its neighbour; not each of six.

    Over night those of real models are: the small ones load in the time of a few such disturbances.
    """
    train = ride({"models": {"steady": {"cmd": scripted("--report", "--load-s", "1")}}})
    found = []
    for curve in learned_curves(train, "steady", 6):
        found.append(curve)
        if curve.at_tenths <= LIMIT:
            break
    assert found[-1].at_tenths <= LIMIT, found
    assert len(found[-1].steps) >= 5, found[-1]


@pytest.mark.nightly
def test_the_bars_of_the_demo_are_true(ride: Callable[..., Train]) -> None:
    """The one that lies in the middle, of five loads: others may use the machine, too."""
    train = ride({"models": commands(ensure_llama_server(), ensure_models())})
    for model in MODELS:
        curves = list(learned_curves(train, model, 5))
        assert sorted(curve.at_tenths for curve in curves)[2] <= LIMIT, curves


def test_a_warm_model_is_answered_as_if_nobody_stood_in_front(
    real: Train, client: openai.OpenAI
) -> None:
    told(client, "small")
    body = {"model": "small", "messages": QUESTION, "max_tokens": 6, "stream": True, "seed": 1}
    body |= {"temperature": 0, "cache_prompt": False}
    endpoint = real.model("small")["endpoint"]

    def ask(url: str) -> tuple[list[str], str]:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_S)
        changing = r'"(created|id|timings|[a-z_]+_ms|[a-z_]+_second)":("[^"]*"|[\d.e-]+)'
        return sorted(answer.headers), re.sub(changing, "", answer.text)

    direct, through = ask(endpoint), ask(real.url)
    assert through[1] == direct[1]
    assert set(direct[0]) - {"keep-alive", "connection"} <= set(through[0])


def test_the_helper_of_the_client_accumulates_one_whole_message(
    real: Train, client: openai.OpenAI
) -> None:
    with client.chat.completions.stream(model="tiny", messages=QUESTION, max_tokens=8) as stream:
        for _ in stream:
            pass
        message = stream.current_completion_snapshot.choices[0].message

    assert message.role == "assistant"
    assert message.content
    assert MARKER not in message.content


def test_completions_and_embeddings_go_to_the_model_that_they_name(
    real: Train, client: openai.OpenAI
) -> None:
    text = client.completions.create(model="small", prompt="A llama", max_tokens=4)
    assert text.choices[0].text
    vectors = client.embeddings.create(model="tiny", input=["one", "two"])
    assert len(vectors.data) == 2
    assert real.model("tiny")["state"] == "ready"


def test_a_model_killed_while_it_loads_raises_in_the_client_and_starts_again(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    """Its model is a pipe first, which nobody can open before somebody would write into it."""
    whole = re.findall(r"-m (\S+)", llama("small"))[0]
    model = tmp_path / "small.gguf"
    os.mkfifo(model)
    config = two_models(llama)
    config["models"]["small"]["cmd"] = llama("small").replace(whole, str(model))
    real = ride(config)
    client = client_of(real)
    stream = client.chat.completions.create(
        model="small", messages=QUESTION, stream=True, max_tokens=4
    )
    os.kill(eventually(lambda: real.model("small")["pid"]), signal.SIGKILL)
    with pytest.raises(openai.APIError, match="small failed to load"):
        for _ in stream:
            pass

    model.unlink()
    model.symlink_to(whole)
    assert told(client, "small")[1]


@contextmanager
def endless(train: Train) -> Generator[openai.Stream[Any]]:
    """A stream that has begun, and has no end of its own."""
    stream = client_of(train).chat.completions.create(
        model="tiny",
        messages=QUESTION,
        stream=True,
        max_tokens=1_000_000,
        extra_body={"ignore_eos": True},
    )
    with stream:
        next(iter(stream))
        yield stream


@pytest.fixture
def shifting(ride: Callable[..., Train], llama: Callable[..., str]) -> Train:
    """A train with a model that forgets what it began with rather than stopping."""
    return ride({"models": {"tiny": {"cmd": llama("tiny", "--context-shift")}}})


def test_a_model_killed_in_mid_stream_raises_in_the_client(shifting: Train) -> None:
    with endless(shifting) as stream:
        os.kill(shifting.model("tiny")["pid"], signal.SIGKILL)
        with pytest.raises(openai.APIError):
            for _ in stream:
                pass
    assert told(client_of(shifting), "tiny")[1]


def test_a_client_that_leaves_frees_its_slot(shifting: Train) -> None:
    with endless(shifting):
        endpoint = shifting.model("tiny")["endpoint"]

        def busy() -> bool:
            return any(slot["is_processing"] for slot in httpx.get(f"{endpoint}/slots").json())

        eventually(busy)
    eventually(lambda: not busy())  # it would go on for ever
    eventually(lambda: shifting.model("tiny")["in_flight"] == 0)


def test_a_broken_model_file_is_a_reason_and_not_a_riddle(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    cmd = re.sub(r"-m \S+", f"-m {broken}", llama())
    train = ride({"models": {"broken": {"cmd": cmd}}})

    answer = train.chat("broken")

    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "model_load_failed"
    assert "failed to load" in error["message"]
    assert str(tmp_path) not in error["message"]


def test_no_llama_server_is_left_after_the_supervisor_was_killed_in_a_load(
    real: Train, client: openai.OpenAI
) -> None:
    stream = client.chat.completions.create(model="small", messages=QUESTION, stream=True)
    pid = eventually(lambda: real.model("small")["pid"])
    server = psutil.Process(pid)

    real.process.kill()
    real.process.wait(PATIENCE_S)

    def ended() -> bool:
        return not server.is_running() or server.status() == psutil.STATUS_ZOMBIE

    eventually(ended, what="the end of llama-server")
    stream.close()


# --- keys and unix sockets of servers -------------------------------------------------------------


def key_of(train: Train, name: str) -> str:
    """The key in the environment of a model's server, which its own user may read."""
    return psutil.Process(train.model(name)["pid"]).environ()["LLAMA_API_KEY"]


def props(train: Train, name: str, **headers: str) -> int:
    """Ask a model's server itself for something that needs a key; as any user of the machine."""
    endpoint = train.model(name)["endpoint"]
    return httpx.get(f"{endpoint}/props", headers=headers, timeout=PATIENCE_S).status_code


def test_servers_with_keys_answer_behind_us_and_nobody_else(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("# ours\ns3cret-file\n")
    train = ride(
        {
            "models": {
                "option": {"cmd": llama("tiny", "--api-key s3cret-option,another")},
                "file": {"cmd": llama("tiny", f"--api-key-file {tmp_path / 'keys'}")},
                "made": {"cmd": llama(), "env": ["LLAMA_API_KEY=${API_KEY}"]},
                "wrong": {"cmd": llama("tiny", "--api-key s3cret-wrong"), "apiKey": "no-such-key"},
            }
        }
    )
    client = openai.OpenAI(base_url=f"{train.url}/v1", api_key="theirs", timeout=PATIENCE_S)

    for model in ("option", "file", "made"):
        assert told(client, model)[1]
        assert train.chat(model).status_code == 200
        assert props(train, model) == 401
        assert props(train, model, Authorization="Bearer theirs") == 401
    first = key_of(train, "made")
    assert props(train, "made", Authorization=f"Bearer {first}") == 200
    train.ask("unload")
    assert train.chat("made").status_code == 200
    assert key_of(train, "made") != first
    assert train.chat("wrong").status_code == 401
    assert first not in train.log_text()


def test_a_server_on_a_unix_socket_chats_streams_and_stops(
    ride: Callable[..., Train], llama: Callable[..., str], tmp_path: Path
) -> None:
    command = llama().replace("--port ${PORT}", "--host %s/${MODEL_ID}.sock")
    train = ride(
        {
            "models": {
                "tiny": {"cmd": command % tmp_path, "env": ["LLAMA_API_KEY=${API_KEY}"]},
                "small": {"cmd": llama("small")},
            }
        }
    )
    client = openai.OpenAI(base_url=f"{train.url}/v1", api_key="none", timeout=PATIENCE_S)
    path = tmp_path / "tiny.sock"

    for _ in range(2):  # it leaves its socket behind, and could not bind it again
        _, answer, finish = told(client, "tiny")
        assert answer
        assert finish == "length"
        assert train.model("tiny")["endpoint"] == f"unix:{path}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as stranger:
            assert stranger.get("http://localhost/health").status_code == 200
            assert stranger.get("http://localhost/props").status_code == 401
        assert told(client, "small")[1]  # takes its place
        assert train.model("tiny")["state"] == "stopped"
        with socket.socket(socket.AF_UNIX) as stopped, pytest.raises(ConnectionRefusedError):
            stopped.connect(str(path))
    assert train.chat("tiny").status_code == 200
    psutil.Process(train.model("tiny")["pid"]).kill()
    eventually(lambda: train.chat("tiny").status_code == 200, what="another one")


@pytest.mark.nightly  # by day a scripted one is, in test_hung
def test_a_real_server_that_is_frozen_is_recycled_and_one_that_works_is_not(
    ride: Callable[..., Train], llama: Callable[..., str]
) -> None:
    train = ride({"hungAfter": "2s", "models": {"small": {"cmd": llama("small")}}})
    long = train.chat("small", max_tokens=400, ignore_eos=True)
    assert long.status_code == 200
    pid = train.model("small")["pid"]
    assert pid is not None
    frozen = psutil.Process(pid)
    frozen.send_signal(signal.SIGSTOP)

    answer = train.chat("small")

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_hung")
    assert train.chat("small").status_code == 200
    assert train.model("small")["pid"] != frozen.pid
