"""Requests in Ollama's API, and what goes upstream."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.worker.apis.base.translation import Translation
from arriero.worker.apis.ollama.request import MAX_TRANSLATED_BYTES, translate
from arriero.worker.errors import BadRequest, TooLarge
from arriero.worker.json.large_body import LARGE_BYTES
from arriero.worker.json.spans import finish

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 30).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"x" * 30).decode()
HI: dict[str, Any] = {"role": "user", "content": "hi"}
CHAT, GENERATE = "/api/chat", "/api/generate"


def translated(path: str, body: bytes | dict[str, Any]) -> Translation:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return finish(translate(path.encode(), raw, lambda name: name.removesuffix(":latest")))


def sent(path: str, **body: Any) -> dict[str, Any]:
    """What goes upstream, without what all have in common."""
    found = json.loads(translated(path, {"model": "m", **body}).body)
    assert found.pop("model") == "m"
    assert found.pop("stream") is True
    return dict(found)


def image(kind: str, data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}}


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"function": {"name": "f", "arguments": {"a": [1.0, "ü"]}}}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (CHAT, {"messages": [HI]}, {"messages": [HI]}),
        (CHAT, {"messages": [HI], "tools": [TOOL]}, {"messages": [HI], "tools": [TOOL]}),
        (CHAT, {"messages": [HI], "tools": None, "format": ""}, {"messages": [HI]}),
        (
            CHAT,
            {"messages": [{**HI, "images": [PNG, JPEG]}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "hi"},
                            image("png", PNG),
                            image("jpeg", JPEG),
                        ],
                    }
                ]
            },
        ),
        (
            CHAT,
            {"messages": [{"role": "assistant", "content": "a", "thinking": "b"}]},
            {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]},
        ),
        (
            CHAT,
            {"messages": [HI], "format": "json", "think": False},
            {
                "messages": [HI],
                "response_format": {"type": "json_object"},
                "chat_template_kwargs": {"enable_thinking": False},
            },
        ),
        (
            CHAT,
            {"messages": [HI], "format": {"type": "object"}, "think": "low"},
            {
                "messages": [HI],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "answer",
                        "strict": True,
                        "schema": {"type": "object"},
                    },
                },
                "reasoning_effort": "low",
                "chat_template_kwargs": {"reasoning_effort": "low"},
            },
        ),
        (
            CHAT,
            {
                "messages": [HI],
                "options": {
                    "num_predict": 7,
                    "temperature": 0.5,
                    "stop": ["x"],
                    "seed": 1,
                    "top_k": 3,
                    "num_keep": 4,
                    "num_ctx": 9,
                    "top_p": None,
                },
            },
            {
                "messages": [HI],
                "max_tokens": 7,
                "temperature": 0.5,
                "stop": ["x"],
                "seed": 1,
                "top_k": 3,
                "n_keep": 4,
            },
        ),
        (CHAT, {"messages": [HI], "options": {"num_predict": -1}}, {"messages": [HI]}),
        (GENERATE, {"prompt": "hi"}, {"messages": [HI]}),
        (
            GENERATE,
            {"prompt": "hi", "system": "s", "suffix": "", "template": "", "context": []},
            {"messages": [{"role": "system", "content": "s"}, HI]},
        ),
        (
            GENERATE,
            {"prompt": "", "images": [PNG]},
            {"messages": [{"role": "user", "content": [image("png", PNG)]}]},
        ),
        (GENERATE, {"prompt": "hi", "raw": True, "think": True}, {"prompt": "hi"}),
    ],
)
def test_requests_say_the_same_upstream(
    path: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(path, **body) == expected
    target = "/v1/completions" if body.get("raw") else "/v1/chat/completions"
    assert translated(path, {"model": "m", **body}).target == target.encode()


def test_calls_of_tools_find_their_results() -> None:
    calls = [CALL, {"function": {"name": "g"}}, {"id": "own", "function": {"name": "g"}}]
    results = [
        {"role": "tool", "content": "1", "tool_name": "g"},
        {"role": "tool", "content": "2", "tool_call_id": "own"},
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "4", "tool_name": "h"},
    ]
    asked = {"role": "assistant", "tool_calls": calls}

    said, *found = sent(CHAT, messages=[asked, *results])["messages"]

    assert [call["id"] for call in said["tool_calls"]] == ["call_1", "call_2", "own"]
    function = said["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("f", {"a": [1.0, "ü"]})
    assert [(it.get("tool_call_id"), it.get("name")) for it in found] == [
        ("call_2", "g"),
        ("own", "g"),
        ("call_1", "f"),
        (None, "h"),
    ]


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
def test_embeddings_are_asked_for(path: str) -> None:
    asked = "prompt" if path.endswith("s") else "input"
    found = translated(path, {"model": "m:latest", asked: "hi", "dimensions": 3, "stream": True})
    assert json.loads(found.body) == {"model": "m", "input": "hi", "dimensions": 3}
    assert (found.target, found.stream) == (b"/v1/embeddings", False)
    assert translated(path, {"model": "m", asked: ""}).body == b""


def test_unchanged_messages_keep_their_bytes() -> None:
    message = b'{ "role":"user","content" : "\\u00e9" }'
    body = translated(CHAT, b'{"model":"m","stream":false,"messages":[%b]}' % message).body
    assert body == b'{"model":"m","messages":[%b]}' % message


def test_a_slash_that_is_escaped_is_one() -> None:
    written = JPEG.replace("/", "\\/")
    body = b'{"model":"m","prompt":"a","images":["%b"]}' % written.encode()
    content = json.loads(translated(GENERATE, body).body)["messages"][0]["content"]
    assert content[1] == image("jpeg", JPEG)


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, {}), (CHAT, {"messages": []}), (GENERATE, {}), (GENERATE, {"prompt": "", "raw": True})],
)
def test_nothing_is_asked_when_a_model_is_loaded(path: str, body: dict[str, Any]) -> None:
    found = translated(path, {"model": "m", "keep_alive": "2m", **body})
    assert (found.body, found.keep_s, found.stream) == (b"", 120.0, True)


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (CHAT, {"messages": "hi"}, "they are a list"),
        (CHAT, {"messages": ["hi"]}, "message 0"),
        (CHAT, {"messages": [HI], "stream": "yes"}, r"Expected `bool.*stream"),
        (CHAT, {"messages": [HI], "think": "hard"}, "'think' is"),
        (CHAT, {"messages": [HI], "format": "xml"}, "'format'"),
        (CHAT, {"messages": [HI], "options": {"num_predict": "x"}}, "num_predict"),
        (CHAT, {"messages": [HI], "keep_alive": "x"}, "keep_alive"),
        (CHAT, {"messages": [{**HI, "images": ["????"]}]}, "image 0"),
        (CHAT, {"messages": [{**HI, "images": [7]}]}, "image 0"),
        (CHAT, {"messages": [{**HI, "images": "x"}]}, "a list"),
        (CHAT, {"messages": [{**HI, "images": [PNG] * 101}]}, "100 images"),
        (CHAT, {"messages": [{**HI, "tool_calls": [{}]}]}, "tool_calls"),
        (CHAT, {"messages": [{**HI, "tool_calls": [CALL] * 201}]}, "200 calls"),
        (CHAT, {"messages": [HI] * 20_001}, "20000 messages"),
        (GENERATE, {"prompt": "a", "suffix": "b"}, "/infill"),
        (GENERATE, {"prompt": "a", "template": "b"}, "template"),
        (GENERATE, {"prompt": "a", "context": [1]}, "context"),
        (GENERATE, {"prompt": "a", "raw": True, "format": "json"}, "raw"),
    ],
)
def test_what_cannot_be_said_is_refused(path: str, body: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        translated(path, {"model": "m", **body})


def test_a_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(TooLarge):
        translated(CHAT, b" " * (MAX_TRANSLATED_BYTES + 1))


def test_a_long_body_is_translated_in_small_steps() -> None:
    data = PNG + "A" * (3 * 1024 * 1024)
    long = "z" * LARGE_BYTES
    body = {"model": "m", "messages": [{**HI, "images": [data]}, {"role": "user", "content": long}]}
    steps = translate(b"/api/chat", json.dumps(body).encode(), str)
    found: list[Translation] = []

    def counted() -> Iterator[None]:
        found.append((yield from steps))

    count = sum(1 for _ in counted())
    assert count > 50
    first, second = json.loads(found[0].body)["messages"]
    assert first["content"][1] == image("png", data)
    assert second["content"] == long


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(PNG),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "images", "tool_calls", "function", "name", "thinking"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
MEMBERS = ["messages", "prompt", "images", "options", "format", "think", "tools", "input", "raw"]


@settings(max_examples=60)
@given(
    st.sampled_from([CHAT, GENERATE, "/api/embed", "/api/embeddings"]),
    st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=5),
)
def test_whatever_it_is_becomes_json_or_is_refused(path: str, body: dict[str, Any]) -> None:
    try:
        found = translated(path, {"model": "m", **body})
    except BadRequest:
        return
    if found.body:
        assert json.loads(found.body)["model"] == "m"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        translated(CHAT, b'{"model":"m",' + body.replace(b"\n", b" ") + b'"')
