"""A real Ray cluster, real llama-servers: for `make test-cluster`."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.cluster.nodes import Cluster

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
