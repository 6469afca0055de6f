"""llama-swap's own tests, and those here that hold what they promise (llama_swap_cases.md)."""

import re
from collections import Counter
from functools import cache

from tests.paths import ROOT

CASES = ROOT / "tests/llama_swap_cases.md"

# The cases that there are in llama-swap v250, by heading.
COUNTS = {
    "HTTP server: routes, listing, passthrough": 52,
    "HTTP server: keys, requests, errors": 39,
    "Profiles and selectors at run time": 20,
    "In-flight list, event feed, logs": 47,
    "Metrics, captures, store": 59,
    "Performance and hardware": 83,
}


@cache
def defined_in(file: str) -> set[str]:
    """The names of the tests that a file defines."""
    return set(
        re.findall(
            r"^(?:async )?def (test_\w+)\(", (ROOT / "tests" / file).read_text(), re.MULTILINE
        )
    )


def test_each_case_is_held_or_explained() -> None:
    parts = re.split(r"^## (.*)$", CASES.read_text(), flags=re.MULTILINE)[1:]
    named = []
    for heading, part in zip(parts[::2], parts[1::2], strict=True):
        cases = re.findall(r"^- `(Test\w+)`: (.+)$", part, re.MULTILINE)
        assert len(cases) == part.count("\n- "), heading
        assert (heading, len(cases)) == (heading, COUNTS[heading])
        for case, held in cases:
            tests = re.findall(r"`(\S+)::(\S+)`", held)
            assert tests or len(held) > 10, case
            assert [f"{file}::{it}" for file, it in tests if it not in defined_in(file)] == [], case
            named.append(case)

    assert len(parts) == 2 * len(COUNTS)
    assert [case for case, count in Counter(named).items() if count > 1] == []
