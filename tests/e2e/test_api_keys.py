"""Clients that show a key, and those that do not."""

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml
from trains import PATIENCE_S, Stream, Train, eventually

from arriero.supervisor.generate.client_key import new_key
from tests.official import openai

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def said(scripted: Callable[..., str]) -> dict[str, Any]:
    """What all tests say; each adds who is let in."""
    return {"models": {"a": {"cmd": scripted()}, "b": {"cmd": scripted()}}}


def states(train: Train) -> dict[str, str]:
    """Of both models."""
    return {name: train.model(name)["state"] for name in ("a", "b")}


def test_only_who_shows_a_key_is_served(ride: Callable[..., Train], said: dict[str, Any]) -> None:
    train = ride(said | {"apiKeys": ["sk-one", "sk-two"]})

    refused = train.chat("a")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="arriero"'
    assert refused.json()["error"]["code"] == "invalid_api_key"
    refused = httpx.post(f"{train.url}/v1/messages", json={"model": "a"})
    assert (refused.status_code, refused.json()["type"]) == (401, "error")
    assert refused.json()["error"]["type"] == "authentication_error"
    assert train.model("a")["state"] == "stopped"  # nobody without a key starts anything
    assert httpx.get(f"{train.url}/v1/models").status_code == 401
    assert httpx.get(f"{train.url}/running", headers={"x-api-key": "sk-no"}).status_code == 401
    assert httpx.get(f"{train.url}/health").status_code == 200
    assert httpx.get(f"{train.url}/v1/models", auth=("me", "sk-two")).status_code == 200

    with openai.OpenAI(base_url=f"{train.url}/v1", api_key="sk-two", timeout=PATIENCE_S) as client:
        answer = client.chat.completions.create(
            model="a", messages=[{"role": "user", "content": "hi"}]
        )
        assert answer.choices[0].message.content
        assert [model.id for model in client.models.list()] == ["a", "b"]
    stranger = openai.OpenAI(base_url=f"{train.url}/v1", api_key="sk-no", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()

    train.reload(said)
    assert train.chat("a").status_code == 200  # from now on nobody needs one


def raw(train: Train, *lines: str, body: bytes = b"") -> int:
    """Send a request as it stands and return the status."""
    host, _, port = train.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as sock:
        head = [*lines, f"Content-Length: {len(body)}"] if body else lines
        sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        data = b""
        while b"\r\n" not in data and (more := sock.recv(65536)):
            data += more
    return int(data.split()[1])


SOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
CHAT_B = b'{"model":"b","messages":[{"role":"user","content":"hi"}]}'


def ways_in(train: Train, *more: str, host: str = "localhost") -> list[int]:
    """Ask for b in ways that have nothing in common but that they would load it."""
    top = (f"Host: {host}", *more)
    fields = dict(line.split(": ", 1) for line in top)
    with httpx.Client(http1=False, http2=True, timeout=PATIENCE_S) as client:
        over_http2 = client.post(f"{train.url}/", content=CHAT_B, headers=fields).status_code
    return [
        raw(train, "POST / HTTP/1.1", *top, body=CHAT_B),
        raw(train, f"POST http://{host}/ HTTP/1.1", *top, body=CHAT_B),
        raw(train, "POST /v1/chat/completions HTTP/1.1", *top, body=CHAT_B),
        raw(train, "POST / HTTP/1.1", *top, "Content-Type: text/plain", body=CHAT_B),
        raw(train, "GET /health?model=b HTTP/1.1", *top, *SOCKET),
        raw(train, "GET /?model=b HTTP/1.1", *top, *SOCKET),
        raw(train, "GET /v1/realtime?model=b HTTP/1.1", *top, *SOCKET),
        over_http2,
    ]


def test_no_way_in_without_a_key_loads_or_evicts_anything(
    ride: Callable[..., Train], said: dict[str, Any]
) -> None:
    train = ride(said | {"apiKeys": ["sk-one"]})
    body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
    url, key = f"{train.url}/v1/chat/completions", {"x-api-key": "sk-one"}
    assert httpx.post(url, json=body, headers=key, timeout=PATIENCE_S).status_code == 200

    for more in ((), ("Authorization: Bearer sk-no",), ("x-api-key: sk-no",)):
        assert set(ways_in(train, *more)) == {401}

    assert states(train) == {"a": "ready", "b": "stopped"}


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("evil.example:8080", ()),
        ("evil.example:8080", ("Origin: http://evil.example:8080",)),
        ("localhost", ("Origin: https://evil.example",)),
        ("localhost", ("Origin: null",)),
        ("localhost", ("Sec-Fetch-Site: cross-site",)),
    ],
)
def test_no_page_of_the_web_loads_evicts_or_reads_anything(
    ride: Callable[..., Train], said: dict[str, Any], host: str, more: tuple[str, ...]
) -> None:
    train = ride(said)
    answer = train.chat("a")
    assert answer.status_code == 200

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{train.url}/api/activity").json()["requests"]
        return found

    last = answer.headers["x-request-id"]
    eventually(lambda: listed() and listed()[0]["request_id"] == last, what="its record")
    done = listed()

    assert set(ways_in(train, *more, host=host)) == {403}
    for line in (
        "GET /api/activity HTTP/1.1",
        "GET /v1/models HTTP/1.1",
        f"POST /api/requests/{done[0]['request_id']}/cancel HTTP/1.1",
        "OPTIONS /v1/chat/completions HTTP/1.1",
    ):
        assert raw(train, line, f"Host: {host}", *more) == 403

    assert states(train) == {"a": "ready", "b": "stopped"}
    assert listed() == done


def test_pages_and_names_that_are_listed_are_let_in_from_the_next_request_on(
    ride: Callable[..., Train], said: dict[str, Any]
) -> None:
    train = ride(said)
    line = "GET /v1/models HTTP/1.1"
    page, name = "Origin: https://chat.example", "Host: llm.example"
    assert raw(train, line, "Host: localhost", "Origin: http://localhost:3000") == 200
    assert raw(train, line, "Host: localhost", page) == 403
    assert raw(train, line, name) == 403

    train.reload(said | {"cors": ["https://chat.example"], "allowedHosts": ["llm.example"]})
    assert raw(train, line, "Host: localhost", page) == 200
    assert raw(train, line, name) == 200


def test_who_listens_to_the_world_without_keys_is_warned_at_the_start_and_by_a_reload(
    start_train: Callable[..., Train], said: dict[str, Any]
) -> None:
    public = said | {"listen": "0.0.0.0:0"}
    train = start_train(public)
    warning = "without a key; write one under apiKeys"
    assert train.log.read_text().count(warning) == 1

    for more, count in (({"publicWithoutKeys": True}, 1), ({"apiKeys": ["k"]}, 1), ({}, 2)):
        train.reload(public | more)
        assert train.log.read_text().count(warning) == count


# --- keys with rights -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_limits_of_a_key_hold_in_all_workers(
    ride: Callable[..., Train], said: dict[str, Any], workers: int
) -> None:
    name = f"laptop-{workers}"  # what one has used stays used
    key = new_key(name, models=["a"], concurrency=2, daily_tokens=30)
    admin = new_key("boss", scopes=["read", "admin"])
    lines: dict[str, Any] = {}
    for one in (key, admin):
        lines |= yaml.safe_load(one.lines)["clientKeys"]
    config = said | {"clientKeys": lines, "workers": workers}
    train = ride(config)
    shown = {"Authorization": f"Bearer {key.key}"}
    boss = {"x-goog-api-key": admin.key}

    assert train.chat("b", headers=shown).status_code == 404
    assert train.chat("a", headers=boss).status_code == 403
    assert httpx.get(f"{train.url}/running", headers=shown).status_code == 403
    running = [Stream(train, "a", runs_on=True, headers=shown) for _ in range(2)]
    eventually(lambda: all(stream.frames for stream in running), what="two streams")
    for _ in range(8):  # on connections of their own, so in both workers
        refused = train.chat("a", headers=shown)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["error"]["code"] == "key_concurrency"
    for stream in running:
        stream.end()
    answer = eventually(
        lambda: next((it for it in [train.chat("a", headers=shown)] if it.is_success), None),
        what="a place",
    )
    assert answer is not None

    def refused_today() -> httpx.Response | None:
        found = train.chat("a", headers=shown)
        is_spent = found.status_code == 429 and found.json()["error"]["code"] == "key_budget"
        return found if is_spent else None  # the streams may still be counted

    spent = eventually(refused_today, what="the end of a budget")
    assert int(spent.headers["Retry-After"]) <= 86400
    listed = httpx.get(f"{train.url}/api/activity", headers=boss).json()["requests"]
    assert name in {one["key"] for one in listed}
    assert key.key not in train.log_text() + json.dumps(listed)

    lines[name].pop("dailyTokens")
    train.reload(config)
    assert train.chat("a", headers=shown).is_success
    train.reload(said)
