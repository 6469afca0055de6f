"""`arriero top`: what goes on, as it happens, on a whole terminal.

Lowest first:

    train_view   What is known of the supervisor, from its answers and events. Pure.
    controls     What is shown of it, and what keys do. Pure.
    rows         Parts of the picture: models, memory, queue, requests, log. Pure.
    picture      All of it for a terminal of that size. Pure.
    asker        Asks the supervisor, in a thread of its own.
    painter      Draws with curses, and reads keys.
    live         Events, answers, keys -> pictures, until it is ended.
    top          `top`
"""
