"""Leases this worker holds, requests in flight, queries to the supervisor. Pure.

Lowest first:

    engagements       Selections, claims and keys of running requests.
    leases            Leases, in-flight counts, waiters.
    queries           Questions to the supervisor by number.
    key_limits        Limits of keys, which the supervisor counts.
    running_requests  Running requests by id, for cancel.
"""
