"""One child process, its output, its port, and nothing left behind.

Lowest first:

    line_splitter  Bytes -> bounded lines.
    output         Reads a pipe line by line.
    ports          Free ports, listeners.
    procfs         Process groups from /proc.
    reaper_child   Kills everything if the supervisor dies.
    reaper         Registers groups with the reaper child.
    spawn          Popen with clear errors.
    unix_sockets   Who listens on a unix socket.
    port_owner     Whose process listens on a port.
    process        `run_process`: a child as long as its task.
"""
