"""``python -m arriero.supervisor`` is the same as ``arriero``."""

import sys

from .cli.serve.entry import main

sys.exit(main())
