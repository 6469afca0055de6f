"""Caches as other programs leave them, on a real disk."""

import json
from pathlib import Path

import pytest

from arriero.supervisor.errors import ConfigError, SupervisorError
from arriero.supervisor.generate.search import ModelSearch
from tests.real.tiny_gguf import write_tiny_gguf

KIND = "application/vnd.ollama.image."


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def put_gguf(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tiny_gguf(path)
    return path


def put_manifest(store: Path, name: str, *layers: tuple[str, str]) -> None:
    path = store / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{"mediaType": KIND + kind, "digest": f"sha256:{it}"} for kind, it in layers]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))


def test_what_other_programs_have_fetched_is_found(home: Path) -> None:
    hub = home / ".cache" / "huggingface" / "hub" / "models--org--a-GGUF"
    put_gguf(hub / "blobs" / "c0ffee")
    for commit in ("aa", "bb"):
        (hub / "snapshots" / commit).mkdir(parents=True)
        (hub / "snapshots" / commit / "a-Q8_0.gguf").symlink_to("../../blobs/c0ffee")
    put_gguf(home / ".cache" / "llama.cpp" / "org_b-GGUF_b.gguf")
    put_gguf(home / ".lmstudio" / "models" / "org" / "c" / "c.gguf")
    store = home / ".ollama" / "models"
    (store / "blobs").mkdir(parents=True)
    for digit in "12":
        put_gguf(store / "blobs" / f"sha256-{digit * 64}")
    library = "registry.ollama.ai/library"
    put_manifest(store, f"{library}/d/latest", ("model", "1" * 64), ("license", "3" * 64))
    put_manifest(store, f"{library}/d/1b", ("model", "1" * 64), ("projector", "2" * 64))
    put_manifest(store, "registry.ollama.ai/me/e/x", ("model", "2" * 64))
    put_manifest(store, f"{library}/gone/1b", ("model", "4" * 64))
    put_manifest(store, f"{library}/evil/1b", ("model", "../../../etc/passwd"))
    put_manifest(store, f"{library}/cloud/1b")
    (store / "manifests" / library / "broken").write_bytes(b"\xff{")
    put_gguf(Path("f.gguf"))
    put_gguf(Path("below/not-looked-at.gguf"))
    (home / "models").symlink_to(home / ".lmstudio" / "models")  # twice the same

    found = ModelSearch().run()

    assert {one.model: one.aliases for one in found.models} == {
        "a": ("a-q8_0",),
        "org_b-gguf_b": (),
        "c": (),
        "d:1b": ("d", "d:latest"),
        "me/e:x": (),
        "f": (),
    }
    remarks = "\n".join(found.remarks)
    assert "broken: it is no manifest of Ollama's" in remarks
    assert f"{'4' * 64}: cannot read it: No such file or directory" in remarks
    assert len(found.remarks) == 2


def test_a_search_looks_anew_each_time(home: Path) -> None:
    search = ModelSearch([put_gguf(home / "m" / "a.gguf").parent])
    config, _ = search.load({})
    put_gguf(home / "m" / "b.gguf")

    assert set(config.models) == {"a"}
    assert set(search.load({})[0].models) == {"a", "b"}
    assert search.init_command() == f"arriero init {home}/m"


def test_where_nothing_is_the_places_are_named(home: Path) -> None:
    (home / "empty").mkdir()

    none = (
        r"^there is no configuration \(config.yaml\), and there is no model in \S+/here \(its own"
    )
    with pytest.raises(ConfigError, match=none):
        ModelSearch().load({})
    with pytest.raises(
        ConfigError, match=f"^there is no model in {home}/empty; .* has some: arriero serve FOLDER$"
    ):
        ModelSearch([home / "empty"]).load({})
    with pytest.raises(SupervisorError, match=f"look for models in {home}/no: No such file"):
        ModelSearch([home / "no"]).load({})
