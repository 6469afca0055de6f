"""Where things are in this repository, wherever a test stands."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# A model's server that does as it is told, with an own help (--help).
SCRIPTED_UPSTREAM = ROOT / "tests" / "fakes" / "scripted_upstream.py"

# It needs nothing that is installed: without that, most of its start is saved.
SCRIPTED_COMMAND = (sys.executable, "-S", str(SCRIPTED_UPSTREAM))

EXAMPLE_CONFIG = ROOT / "config.example.yaml"
CONTROL_DOCS = ROOT / "docs" / "control-socket.md"
