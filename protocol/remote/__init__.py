"""What is said between machines: over TCP, encrypted, between those who know each other's keys.

Lowest first:

    curve   keys; who is let in; sockets over TCP
    launch  messages about a model's server on another machine
"""
