"""Other machines that have models, and which of them answers a request.

Lowest first:

    choice   Which of several machines with the same model answers a request. Pure.
"""
