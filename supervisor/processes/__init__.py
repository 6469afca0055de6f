"""One child process, its output, its port, and nothing left behind.

Lowest first:

    line_splitter      Bytes -> bounded lines.
    output             Reads a pipe line by line.
    listening_sockets  Listeners, from the kernel's tables.
    ports              Free ports, listeners.
    procfs             Process groups from /proc.
    reaper_child       Kills everything if the supervisor dies, or keeps it for the next one.
    forked_process     A process that was forked elsewhere.
    kept_process       What an earlier supervisor has left.
    leftovers          Ends what is left when supervisor and reaper were killed.
    reaper             Registers groups with the reaper child.
    spawn              Popen with clear errors.
    unix_sockets       Listeners on a unix socket.
    port_owner         Owner of a port: started server, or stranger.
    process            `run_process`: a child as long as its task.
"""
