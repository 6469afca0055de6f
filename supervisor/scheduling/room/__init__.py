"""Who may be there beside whom, and whose turn it is.

Lowest first:

    turns    Queue order and who may overtake.
    room     Where memory decides: who goes for whom.
    explain  `arriero explain` in words.
"""
