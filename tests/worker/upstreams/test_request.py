"""The body for an upstream: what is edited, by its kind, its route and what is wanted."""

import json

import pytest

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.apis.routes import CHAT, MESSAGES
from arriero.worker.upstreams.request import RequestOptions, edit_body
from tests.worker import sse

BODY = b'{"model":"m", "stream":true}'
ROUTE = ModelRoute(model="m")
RENAMED = ModelRoute(model="m", send_as="real")


@pytest.mark.parametrize(
    ("route", "kind", "path", "options", "added"),
    [
        (ROUTE, "unknown", sse.CHAT, RequestOptions(CHAT, stream=True), {}),
        (RENAMED, "unknown", sse.CHAT, RequestOptions(CHAT, stream=True), {"model": "real"}),
        (ROUTE, "vllm", sse.CHAT, RequestOptions(CHAT, stream=True), {"stream_options": True}),
        (ROUTE, "vllm", sse.CHAT, RequestOptions(CHAT, stream=False), {}),
        (ROUTE, "vllm", b"/v1/messages", RequestOptions(MESSAGES, stream=True), {}),
        (ROUTE, "unknown", sse.CHAT, RequestOptions(CHAT, stream=True, usage=True),
         {"stream_options": True}),
        (ROUTE, "llama-server", sse.CHAT, RequestOptions(CHAT, stream=True, progress=True),
         {"return_progress": True}),
        (ROUTE, "vllm", sse.CHAT, RequestOptions(CHAT, stream=True, progress=True),
         {"stream_options": True}),
        (RENAMED, "llama-server", sse.CHAT, RequestOptions(CHAT, True, usage=True, progress=True),
         {"model": "real", "stream_options": True, "return_progress": True}),
    ],
)  # fmt: skip
def test_a_body_gets_what_is_wanted(
    route: ModelRoute,
    kind: UpstreamKind,
    path: bytes,
    options: RequestOptions,
    added: dict[str, object],
) -> None:
    edited = edit_body(BODY, route, kind, path, options)

    if "stream_options" in added:
        added = added | {"stream_options": {"include_usage": True}}
    assert json.loads(edited.body) == json.loads(BODY) | added
    assert (edited.body is BODY) is not bool(added)
