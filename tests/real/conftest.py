"""Makes ``tests.real`` importable, for this folder's tests and for those that start real parts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
