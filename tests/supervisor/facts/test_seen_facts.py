"""What servers tell of their models is kept, whatever it is and becomes of the file."""

import json
from pathlib import Path

import pytest

from arriero.protocol.worker_config import SeenFacts
from arriero.supervisor.facts.seen_facts import MAX_ENTRIES, SeenModels
from arriero.supervisor.facts.server_facts import read_facts

# As llama-server of build 571d0d5 told it, without what is not read.
MODELS = json.dumps({
    "models": [{"name": "m"}],
    "data": [
        {
            "id": "m",
            "meta": {
                "vocab_type": 2, "n_ctx": 4096, "n_ctx_train": 8192, "n_embd": 576,
                "n_params": 134515008, "size": 96576768, "ftype": "Q4_1",
            },
        }
    ],
}).encode()  # fmt: skip
PROPS = json.dumps(
    {
        "default_generation_settings": {"n_ctx": 1024, "params": {"n_predict": -1}},
        "modalities": {"vision": True, "video": False, "audio": False},
        "chat_template_caps": {"supports_tools": True},
    }
).encode()
FACTS = SeenFacts(
    n_ctx=1024,
    n_ctx_train=8192,
    n_params=134515008,
    size=96576768,
    takes=("text", "image"),
    tools=True,
)


def test_facts_are_read_of_each_kind_of_server() -> None:
    assert read_facts(MODELS, PROPS) == FACTS
    assert read_facts(MODELS).n_ctx == 4096
    vllm = b'{"object": "list", "data": [{"id": "m", "max_model_len": 32768}]}'
    assert read_facts(vllm) == SeenFacts(n_ctx=32768)


@pytest.mark.parametrize(
    "told",
    [
        b"", b"null", b"[]", b"\xff", b"{}", b'{"data": null}', b'{"data": []}',
        b'{"data": [{"meta": {"n_ctx": "many"}}]}', b'{"data": [{"meta": {"n_ctx": -5}}]}',
        b'{"data": [{"max_model_len": 1e300}]}',
        b'{"data": [{"meta": {"size": 9223372036854775807}}]}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_known(told: bytes) -> None:
    assert read_facts(told, told) == SeenFacts()


def test_facts_outlive_the_supervisor(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    seen = SeenModels(path)

    assert seen.learn("one", FACTS)
    assert not seen.learn("one", FACTS)  # no news: nobody is told again
    assert not seen.learn("one", SeenFacts())  # it did not answer
    assert SeenModels(path).get("one") == FACTS
    assert seen.learn("one", SeenFacts(n_ctx=1))
    assert SeenModels(path).get("one") == SeenFacts(n_ctx=1)


@pytest.mark.parametrize("text", ["", "{", '{"v": 2}', "[]", '{"v": 1, "facts": {"a": 1}}'])
def test_a_broken_file_is_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text)

    seen = SeenModels(path)

    assert seen.get("a") is None
    assert seen.learn("a", FACTS)
    assert SeenModels(path).get("a") == FACTS


def test_old_commands_fall_out(tmp_path: Path) -> None:
    many = {str(n): {"n_ctx": 5} for n in range(MAX_ENTRIES + 2)}
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"v": 1, "facts": many}))
    seen = SeenModels(path)
    seen.learn("new", FACTS)

    assert [seen.get(it) is None for it in ("0", "1", "2", "3", "new")] == [True] * 3 + [False] * 2
