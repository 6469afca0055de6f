"""Where things are in this repository, wherever a test stands."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
