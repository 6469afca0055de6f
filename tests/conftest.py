"""How much is tried: enough to find what a change breaks, or what nobody thought of, over night."""

import os

from hypothesis import HealthCheck, settings

# Examples of each property; those with a number of their own keep it. Deadlines are for machines
# that have nothing else to do.
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile(
    "nightly", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
