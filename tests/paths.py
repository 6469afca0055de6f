"""Where things are in this repository, wherever a test stands."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

# A model's server that does as it is told, with an own help (--help).
SCRIPTED_UPSTREAM = ROOT / "tests" / "fakes" / "scripted_upstream.py"

EXAMPLE_CONFIG = ROOT / "config.example.yaml"
CONTROL_DOCS = ROOT / "docs" / "control-socket.md"
