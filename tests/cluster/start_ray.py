"""`ray start` on the loopback address: it takes 127.0.0.1 for a mistake, and the machine's own.

Run by the Python that has Ray, with the arguments of `ray`.
"""

import ray._private.services as services
from ray.scripts.scripts import main

services.get_node_ip_address = lambda address=None: "127.0.0.1"
main()
