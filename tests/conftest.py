"""How much is tried: enough to find what a change breaks, or what nobody thought of, over night."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Examples of each property; those with a number of their own keep it. Deadlines are for machines
# that have nothing else to do.
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile(
    "nightly", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests that start whole trains run one after the other, beside all others.

    They look at the processes and ports of this machine, and share trains.
    """
    for item in items:
        if item.path.parent.name in {"e2e", "real"}:
            item.add_marker(pytest.mark.xdist_group("processes"))
