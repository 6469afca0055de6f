"""Where the ports of models begin: each of several processes that test at once has its own."""

import os

START_PORT = 5800 + 400 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
