"""Leases this worker holds, requests in flight, queries to the supervisor. Pure.

Lowest first:

    engagements       Selections and claims of running requests.
    leases            Leases, in-flight counts, waiters.
    queries           Questions to the supervisor by number.
    running_requests  Running requests by id, for cancel.
"""
