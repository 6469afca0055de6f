"""What a server told of its model when it last ran: for listings, while it does not.

Lowest first:

    server_facts  What servers tell -> facts. Pure.
    seen_facts    Facts by command, and their file.
    ask           Asks a server.
"""
