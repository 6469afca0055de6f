"""Where the ports of models begin: each of several processes that test at once has its own.

So has each checkout, nearly: several may be tested at once. All are below the ports that the
system gives away.
"""

import os
import zlib

_PER_PROCESS = 400
_PER_CHECKOUT = 8 * _PER_PROCESS

_checkout = zlib.crc32(os.path.dirname(__file__).encode()) % 8
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8

START_PORT = 5800 + _checkout * _PER_CHECKOUT + _process * _PER_PROCESS
