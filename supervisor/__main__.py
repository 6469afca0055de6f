"""``python -m arriero.supervisor`` is the same as ``arriero``."""

import sys

from .cli.main import main

sys.exit(main())
