"""``python -m arriero`` is the same as ``arriero``."""

import sys

from arriero.supervisor.cli import main

sys.exit(main())
