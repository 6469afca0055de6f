"""How much is tried: enough to find what a change breaks, or what nobody thought of, over night."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Examples of each property; those with a number of their own keep it. Deadlines are for machines
# that have nothing else to do.
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile(
    "nightly", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests that start whole trains run file by file: those of a file share trains.

    The judges, whose libraries take long to import, stay together as well.
    """
    for item in items:
        if item.path.parent.name in {"e2e", "real"}:
            is_judge = item.path.stem.startswith(("test_judges", "test_apis"))
            group = "judges" if is_judge else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))
