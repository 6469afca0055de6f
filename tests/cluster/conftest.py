"""A real Ray cluster, real llama-servers: for `make test-cluster`."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest

from tests.cluster.nodes import Cluster
from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

# Without the environment that `make test-cluster` makes there is nothing to be tested.
collect_ignore_glob = [] if os.environ.get("ARRIERO_CLUSTER") else ["test_*.py"]


@pytest.fixture(scope="session")
def cluster() -> Generator[Cluster]:
    """Three nodes: a head on which nothing runs, and two with two processors each."""
    cluster = Cluster()
    try:
        cluster.begin()
        cluster.add("one", cpus=2)
        cluster.add("two", cpus=2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that gives the command of a real llama-server with a tiny model."""
    binary = ensure_llama_server()
    folder = tmp_path_factory.mktemp("models")
    for size in ("tiny", "small"):
        write_tiny_gguf(folder / f"{size}.gguf", size=size)

    def command(size: str = "tiny", *options: str) -> str:
        basic = f"{binary} --port ${{PORT}} -m {folder / size}.gguf"
        return " ".join([basic, "-t 1 -c 512 --parallel 1 --no-webui", *options])

    return command
