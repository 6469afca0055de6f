"""Who may be there beside whom, and whose turn it is.

Lowest first:

    turns       Queue order and who may overtake.
    needs       Memory that models need and have; why one cannot have room.
    taken       What some models have of each device, summed up.
    costs       What it costs to take a model away.
    room        Where memory decides: who goes for whom.
    told        What memory decides, in words and values.
    explain     `arriero explain` in words.
    placement   The policy in force, and the account of memory, if that decides.
    sizing      Sizes of models: asks for them, takes them in, raises them.
    turn_order  Whose turn it is, by priority and by the oldest waiter.
"""
