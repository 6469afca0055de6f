"""Clients that show a key, and those that do not."""

from collections.abc import Callable

import httpx
import openai
import pytest
import yaml
from trains import DEFAULTS, PATIENCE_S, Train

pytestmark = pytest.mark.e2e


def test_only_who_shows_a_key_is_served(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    said = {"models": {"a": {"cmd": scripted()}}}
    train = start_train(said | {"apiKeys": ["sk-one", "sk-two"]})

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
        assert [model.id for model in client.models.list()] == ["a"]
    stranger = openai.OpenAI(base_url=f"{train.url}/v1", api_key="sk-no", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()

    file = train.log.parent / "config.yaml"
    file.write_text(yaml.safe_dump(DEFAULTS | said))
    assert train.ask("reload")["ok"]
    assert train.chat("a").status_code == 200  # from now on nobody needs one
