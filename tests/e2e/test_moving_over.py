"""Somebody moves over from llama-swap: the same file, the same command line, TLS with it."""

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import yaml
from trains import PATIENCE_S, Train, eventually

pytestmark = pytest.mark.e2e


def test_the_command_line_and_the_file_run_unchanged(
    start_train: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    """A server that is simply there, keys of another version, and a certificate."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    (tmp_path / "key.pem").write_bytes(made.private_key_pem.bytes())
    (tmp_path / "cert.pem").write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    config: dict[str, Any] = {
        "maxLoadedModels": 2,
        "logLevel": "verbose",
        "models": {
            "a": {"cmd": scripted(), "aliases": ["first"]},
            "b": {"cmd": scripted("--name", "b")},
        },
        "groups": {"g": {"members": ["a", "b"], "swap": False}},
    }

    train = start_train(
        config,
        "-listen",
        "127.0.0.1:0",
        "-watch-config",
        f"-tls-cert-file={tmp_path / 'cert.pem'}",
        "-tls-key-file",
        str(tmp_path / "key.pem"),
        of_llama_swap=True,
    )
    train.url = train.url.replace("http:", "https:")
    told = train.ask("status")["config"]["findings"]
    assert any("unknown key 'maxLoadedModels'; nothing acts on it" in line for line in told)
    assert any("logLevel: found the text 'verbose'" in line for line in told)
    with httpx.Client(verify=trusted, base_url=train.url, timeout=PATIENCE_S) as client:

        def chat(model: str, **more: Any) -> httpx.Response:
            body = {"model": model, "messages": [], "script": "echo"} | more
            return client.post("/v1/chat/completions", json=body)

        assert chat("b").json()["name"] == "b"
        there = {"proxy": train.model("b")["endpoint"], "useModelName": "real", "aliases": ["r"]}
        config["models"]["remote"] = there
        file = train.log.parent / "config.yaml"
        file.with_suffix(".new").write_text(yaml.safe_dump(config))
        file.with_suffix(".new").rename(file)
        eventually(lambda: chat("r").status_code == 200, what="a file that is followed")
        asked = b'{"model": "r", "script": "echo"}'
        told = client.post("/v1/chat/completions", content=asked).json()
        sent = hashlib.sha256(asked.replace(b'"r"', b'"real"')).hexdigest()
        assert (told["name"], told["sha256"]) == ("b", sent)
        assert "data: [DONE]" in chat("remote", stream=True, script="chunks=3").text
        listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
        assert listed["remote"]["status"] == {"value": "loaded"}
        assert train.ask("explain", model="r")["error"]["code"] == "remote_model"
        too_large = client.post("/v1/chat/completions", content=bytes(65 * 1024**2))
        assert too_large.status_code == 413
