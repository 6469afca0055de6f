"""Owns the processes: the only package that starts or stops one.

Layout, in the order in which one part stands on another:

    deciding   lifecycle, backoff, room, matrix*, turns, happenings, slots, waitlist, refusals,
               explaining, engine                             who runs, who waits, who has to go
               pulse, failing                                 who runs, but is of no use
               yaml*, printable, addresses, commandline, suggestions, config_*
                                                              YAML -> values that cannot be wrong
               config_diff, config_watch                      what another file changes, and when
               config_advice*, config_findings, exposure, server_options, model_keys, masking
                                                              what `arriero check` has to say
               config_schema, json_schema, config_dump        the same for editors, and as a file
               presets_ini, llama_options, model_files, import_presets, scan
                                                              configurations out of something else
               progress_*, durations                          how far a start is
               crowding                                       who has too many connections
               scarcity                                       what the system would not give
               subscriptions                                  who hears of what, and what is much
               endings, not_ready, trying_again               why a process went away or is not
                                                              ready, and what is tried again
    doing      real_disk, config, config_sources, config_store, watching, reloading
                                                              the files of the configuration
               descriptors, spawning, process*, lines, procfs, guardian*, ports, health
                                                              one process, and nothing left behind
               kinds, port_owner                              what a server is, and whose its port
               report_wish                                    who is asked for a report of its start
               unix_sockets, key_files                        sockets and keys of servers
               effort, pulse_watch                            signs of life of one that serves
               pulse, failing                                 who runs, but is of no use
               fleet                                          the processes of models
               shares, workers                                the worker processes
               publisher, lease_server, control_server, doorkeeper
                                                              the three sockets
               conductor, commands, preloading, logbook       carry out what was decided
               prices_*                                       a list of prices, kept up to date
               state_files, durations_file, runtime, listening, notify, own_log
                                                              the machine around it
               first_words                                    what a person is told at the start
               gguf_numbers, gguf_head, scan_files            what is in a folder of models
               unit_files, data/                              what an operator copies
               cli_*                                          the commands that ask and show
    wiring     app, cli                                       opens the parts in order
"""
