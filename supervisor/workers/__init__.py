"""Worker processes and the lease socket they talk to.

Lowest first:

    cancellation       Combines the workers' answers to one cancel.
    connection_counts  The table of the workers' connections.
    failure_streaks    Models that answer with errors only.
    idempotency_keys   Keys of running requests.
    key_limits         Places and daily budgets of keys.
    key_use_file       What keys have used today, on disk.
    request_log        Last request records.
    selections         Targets of selectors, and their requests.
    lease_server       Lease socket (ROUTER).
    zygote             Forks the first workers.
    pool               Starts, replaces and scales workers.
"""
