"""``python -m arriero`` is the same as ``arriero``."""

import sys

from arriero.supervisor.cli.serve.entry import main

sys.exit(main())
