"""``python -m arriero`` is the same as ``arriero``."""

import sys

from arriero.supervisor.cli.main import main

sys.exit(main())
