"""Prefixes of prompts: equal for all turns of a conversation, and for hardly any two of them."""

import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.json.prompt_prefix import prompt_prefix
from arriero.worker.json.spans import find_members, finish

SYSTEM = {"role": "system", "content": "You are careful. " * 100}


def chat(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": list(messages), **more}).encode()


def user(text: object) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def test_all_turns_of_a_conversation_are_one() -> None:
    parts = [{"type": "text", "text": 'say "role":"user" } ] twice'}]
    for first in (user("hello"), user(parts), user('\\" [{')):
        for begin in ((first,), (SYSTEM, first)):
            turns = [
                chat(*begin),
                chat(*begin, assistant("hi"), user("more")),
                chat(*begin, assistant("hi"), user("more"), assistant("x" * 300_000), stream=True),
            ]
            prefixes = {prompt_prefix(turn) for turn in turns}
            large = turns[-1]
            assert prefixes == {prompt_prefix(large, finish(find_members(large)))}
            assert len(prefixes.pop()) == 16


def test_other_conversations_are_others() -> None:
    bodies = [
        chat(user("hello")),
        chat(user("hello!")),
        chat(SYSTEM, user("hello")),
        chat(SYSTEM, user("other")),
        b'{"prompt":"def f"}',
        b'{"prompt":"def g"}',
        b'{"input":"hello"}',
        json.dumps({"input": [user("hello again")]}).encode(),
        json.dumps({"system": "s", "messages": [user("of messages")]}).encode(),
    ]
    assert len({prompt_prefix(body) for body in bodies}) == len(bodies)


def test_without_a_prompt_there_is_none() -> None:
    for body in (b"", b"{}", b'{"model":"messages"}', b'{"messages":null}', b"\xff\x00"):
        assert prompt_prefix(body) == ""


def test_a_text_that_grows_keeps_its_prefix() -> None:
    text = "x = 1\n" * 200
    assert prompt_prefix(json.dumps({"prompt": text}).encode()) == prompt_prefix(
        json.dumps({"prompt": text + "y = 2"}).encode()
    )


@given(st.binary(max_size=400), st.sampled_from([b'{"messages":[', b'{"prompt":"', b""]))
def test_any_bytes_give_a_prefix_or_none(rest: bytes, begin: bytes) -> None:
    assert len(prompt_prefix(begin + rest)) in {0, 16}


def test_no_body_takes_long() -> None:
    # each of these is read once; a search that begins anew at each quote would take minutes
    size = 256 * 1024
    for unit in (b'\\"', b'"', b'"messages"', b"[", b'{"role" ', b'{"messages":  '):
        body = b'{"messages":["' + unit * (size // len(unit))
        began = time.thread_time()
        prompt_prefix(body)
        assert time.thread_time() - began < 5, unit
