"""What starts the servers of models: on this machine, or on another one.

Lowest first:

    launcher   `Launcher`: the interface; what is ordered, and what was started.
    guard      Runs a command on another machine for as long as its input is open. Pure.
    local      `local`: a process of this machine.
    command    `command`: templates for ssh, srun, kubectl and the like.
    ray        `ray`: a node of a Ray cluster.
    launchers  Which launcher a model has.

The engine alone says who runs, by `Spawn` and `Terminate`; a launcher says where.
"""
