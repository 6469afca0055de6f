"""What an upstream is asked for that its client did not ask for: by kind, setting and API."""

from typing import get_args

import pytest

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import UsageSetting
from arriero.worker.apis.routes import APIS, CHAT, COMPLETIONS
from arriero.worker.upstreams.extra_options import asks_for_progress, asks_for_usage

KINDS: tuple[UpstreamKind, ...] = get_args(UpstreamKind)


def test_known_kinds_are_asked_for_usage() -> None:
    asked = {kind for kind in KINDS if asks_for_usage("auto", kind, CHAT, stream=True)}
    assert asked == {"vllm", "openai", "azure"}
    assert asks_for_usage("auto", "vllm", COMPLETIONS, stream=True)


def test_inject_asks_whoever_may_understand() -> None:
    asked = {kind for kind in KINDS if asks_for_usage("inject", kind, CHAT, stream=True)}
    assert asked == set(KINDS) - {"anthropic", "gemini", "bedrock"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ["auto", "inject"])
def test_other_apis_are_never_asked(setting: UsageSetting, kind: UpstreamKind) -> None:
    assert not asks_for_usage(setting, kind, CHAT, stream=False)
    assert not asks_for_usage("observe", kind, CHAT, stream=True)
    for api in set(APIS) - {CHAT, COMPLETIONS}:
        assert not asks_for_usage(setting, kind, api, stream=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("path", "tells"),
    [
        (b"/v1/chat/completions", True),
        (b"/v1/completions", True),
        (b"/completion", True),
        (b"/v1/messages", False),
        (b"/v1/responses", False),
    ],
)
def test_only_llama_server_tells_progress(kind: UpstreamKind, path: bytes, tells: bool) -> None:
    assert asks_for_progress(kind, path, stream=True) is (tells and kind == "llama-server")
    assert not asks_for_progress(kind, path, stream=False)
