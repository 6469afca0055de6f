"""`arriero check`: valid configuration that is almost certainly a mistake.

Lowest first:

    exposure   Who gets at the models.
    findings   Collects findings with positions.
    keys       Keys that are good for nothing, budgets that nothing uses up.
    models     One model: program, files, port.
    names      Shadowed names, unused pins and macros.
    lint       Entry point: ports and routing.
    real_disk  The files and programs of this machine.
"""
