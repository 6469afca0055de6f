"""The machine around us: systemd, sockets, runtime folder, log, files.

Lowest first:

    atomic_file    Replace and read small files atomically.
    collector      No garbage collection during imports.
    curve_key_file  Secret keys for connections between machines.
    file_limit     Limits of open files.
    http_get       One GET or POST over HTTP/1.1 with h11: TCP, TLS or a unix socket.
    instance_file  A number of this arriero, which it keeps.
    kept_ring      Messages in memory that outlives this process.
    listen_socket  The listening sockets that all workers inherit.
    log            Log format and level.
    own_version    The version of this program.
    runtime_dir    Socket folder, state folder, lock.
    shortage       Scarce resources of the system, in words.
    state_file     What was learned, in a file that may get lost.
    systemd        sd_notify and the watchdog.
    tls_files      The certificate for clients.
"""
