"""What `make` installs is what pyproject.toml asks for, locked; `make lock` puts it right."""

import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = {
    "run": PROJECT["dependencies"] + PYPROJECT["dependency-groups"]["build"],
    "nvidia": EXTRAS["nvidia"],
    "otel": EXTRAS["otel"],
    "ray": EXTRAS["ray"],
    "demo": EXTRAS["demo"],
    "dev": EXTRAS["dev"],
}


def locked(name: str) -> dict[str, dict[str, list[str]]]:
    """Package -> version, with the condition under which it is taken -> hashes."""
    found: dict[str, dict[str, list[str]]] = {}
    for entry in re.split(r"\n(?=[a-z])", (ROOT / f"requirements/{name}.txt").read_text()):
        if match := re.match(r"([a-z0-9-]+)==(.*?) *\\\n", entry):
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry)
            found.setdefault(match[1], {})[match[2]] = hashes
    return found


RUN, NVIDIA, OTEL, RAY, DEMO, DEV = map(locked, ("run", "nvidia", "otel", "ray", "demo", "dev"))


@pytest.mark.parametrize("name", ["run", "nvidia", "otel", "ray", "demo", "dev"])
def test_every_version_has_hashes(name: str) -> None:
    found = locked(name)

    assert len(found) > 20
    assert all(hashes for versions in found.values() for hashes in versions.values())


def test_the_smaller_sets_are_parts_of_the_larger_ones() -> None:
    pairs = ((RUN, NVIDIA), (RUN, OTEL), (RUN, RAY), (OTEL, DEV), (RUN, DEMO), (DEMO, DEV))
    for smaller, larger in pairs:
        for package, versions in smaller.items():
            numbers = {version.split(" ;")[0] for version in versions}
            assert numbers <= {version.split(" ;")[0] for version in larger[package]}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in ASKED.items() for text in texts]
)
def test_what_is_asked_for_is_locked(name: str, text: str) -> None:
    asked = Requirement(text)
    found = locked(name)[canonicalize_name(asked.name)]

    assert all(asked.specifier.contains(version.split(" ;")[0]) for version in found)


# Refuses what `make demo` does not install, as an environment does that has nothing else.
IMPORTS_THE_DEMO = """
import sys
from importlib.metadata import packages_distributions

homes = packages_distributions()

class Refuse:
    def find_spec(name, path=None, target=None):
        known = {home.lower().replace("_", "-") for home in homes.get(name, ())}
        if known and not known & set(sys.argv[1:]):
            raise ModuleNotFoundError(f"{name} is not locked for the demo", name=name)

sys.meta_path.insert(0, Refuse)
import tests.real.demo
"""


def test_the_demo_needs_nothing_but_what_make_installs_for_it() -> None:
    command = (sys.executable, "-c", IMPORTS_THE_DEMO, "arriero", *DEMO)

    process = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)

    assert process.returncode == 0, process.stderr
