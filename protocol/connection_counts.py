"""Connections of each worker: a table in shared memory.

One unsigned number of 32 bits for each worker, in the machine's order of bytes, at the place of its
number. 0 means that no worker accepts there; otherwise it is one more than the connections.
A worker writes its own place only; the supervisor clears that of one that has ended.
"""

from .control import MAX_WORKERS

SLOT_BYTES = 4
TABLE_BYTES = SLOT_BYTES * (MAX_WORKERS + 1)  # numbers begin at 1
