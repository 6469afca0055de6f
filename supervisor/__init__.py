"""Owns the processes: the only package that starts or stops one. See design notes in docs/.

Layout, in the order in which one part stands on another:

    deciding   lifecycle, backoff, room, happenings, engine   who runs, who waits, who has to go
               config*, commandline                           YAML -> values that cannot be wrong
               progress_*, durations                          how far a start is
    doing      process, guardian, ports, health               one process, and nothing left behind
               fleet                                          the processes of models
               workers                                        the worker processes
               publisher, lease_server, control_server        the three sockets
               conductor, commands, logbook                   carry out what was decided
               runtime, listening, notify                     the machine around it
    wiring     app, cli                                       opens the parts in order
"""

from importlib.metadata import version

__version__ = version("arriero")
