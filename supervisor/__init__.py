"""Owns the processes: the only package that starts or stops one.

Layout, in the order in which one part stands on another:

    deciding   lifecycle, backoff, room, happenings, slots, engine
                                                              who runs, who waits, who has to go
               yamltree, addresses, commandline, config*      YAML -> values that cannot be wrong
               progress_*, durations                          how far a start is
               endings                                        why a process went away, for clients
    doing      spawning, process, lines, procfs, guardian*, ports, health
                                                              one process, and nothing left behind
               fleet                                          the processes of models
               workers                                        the worker processes
               publisher, lease_server, control_server        the three sockets
               conductor, commands, logbook                   carry out what was decided
               durations_file, runtime, listening, notify     the machine around it
               cli_*                                          the commands that ask and show
    wiring     app, cli                                       opens the parts in order
"""

from importlib.metadata import version

__version__ = version("arriero")
