"""Models side by side: groups and the matrix, in a whole train."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from trains import Stream, Train, eventually

pytestmark = pytest.mark.e2e

CHUNKS = 30


@pytest.fixture
def models(scripted: Callable[..., str]) -> dict[str, Any]:
    """The models a, b, c and p."""
    return {name: {"cmd": scripted("--name", name)} for name in "abcp"}


def running_stream(train: Train, model: str) -> Stream:
    """A stream that ends when `is_whole` is asked about it."""
    stream = Stream(train, model, chunks=CHUNKS, delay_s=0.02, runs_on=True)
    eventually(lambda: len(stream.frames) > 3, what=f"a running stream of {model}")
    return stream


def is_whole(stream: Stream) -> bool:
    stream.finish()
    text = "".join(f"w{number} " for number in range(1, CHUNKS + 1))
    return (stream.error, stream.errors(), stream.text()) == (None, [], text)


def states(train: Train) -> dict[str, str]:
    found = train.ask("status")["models"]
    return {one["model"]: one["state"] for one in found if one["state"] != "stopped"}


def test_a_group_serves_side_by_side_until_an_exclusive_one_needs_the_place(
    ride: Callable[..., Train], models: dict[str, Any]
) -> None:
    train = ride(
        {
            "models": models,
            "groups": {
                "pair": {"members": ["a", "b"], "swap": False},
                "kept": {"members": ["p"], "exclusive": False, "persistent": True},
            },
        }
    )
    assert train.chat("p").status_code == 200
    pid = train.model("p")["pid"]
    a, b = running_stream(train, "a"), running_stream(train, "b")
    assert states(train) == {"a": "ready", "b": "ready", "p": "ready"}
    assert train.chat("p").status_code == 200
    told = train.ask("explain", model="c")
    assert told["stops"] == ["a", "b"]
    assert told["why"].endswith("stop: models in no group stop other groups")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(train.chat, "c")
        eventually(lambda: train.ask("status")["queue"] or waiting.done())
        assert not waiting.done()
        assert states(train) == {"a": "draining", "b": "draining", "p": "ready"}
        assert train.chat("p").status_code == 200

        assert is_whole(a)
        assert not waiting.done()  # it waits for b as well
        assert is_whole(b)
        assert waiting.result().json()["model"] == "c"

    assert states(train) == {"c": "ready", "p": "ready"}
    assert train.model("p")["pid"] == pid


def test_the_matrix_makes_the_cheaper_model_go(
    ride: Callable[..., Train], models: dict[str, Any]
) -> None:
    train = ride(
        {
            "models": models,
            "matrix": {
                "evict_costs": {"b": 5},
                "sets": {"both": "a & b", "with-a": "a & c", "with-b": "b & c"},
            },
        }
    )
    with ThreadPoolExecutor(2) as pool:
        assert [answer.status_code for answer in pool.map(train.chat, "ab")] == [200, 200]
    assert states(train) == {"a": "ready", "b": "ready"}
    assert "with-b costs least (1)" in train.ask("explain", model="c")["why"]

    b = running_stream(train, "b")
    assert train.chat("c").status_code == 200

    assert b.frames[-1] != "data: [DONE]"  # c did not wait for it
    assert states(train) == {"b": "ready", "c": "ready"}
    assert is_whole(b)
    assert train.chat("p").status_code == 200  # in no set
    assert states(train) == {"p": "ready"}


def test_groups_come_into_force_while_a_stream_runs(
    ride: Callable[..., Train], models: dict[str, Any]
) -> None:
    train = ride({"models": models})
    a = running_stream(train, "a")
    pid = train.model("a")["pid"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(train.chat, "b")
        eventually(lambda: states(train) == {"a": "draining"})

        groups = {"pair": {"members": ["a", "b"], "swap": False}}
        changes = train.reload({"models": models, "groups": groups})
        assert changes["settings"] == ["routing"]

        assert waiting.result().json()["model"] == "b"

    assert a.frames[-1] != "data: [DONE]"  # b did not wait for it
    assert states(train) == {"a": "ready", "b": "ready"}
    assert is_whole(a)
    assert train.chat("a").status_code == 200
    assert train.model("a")["pid"] == pid
