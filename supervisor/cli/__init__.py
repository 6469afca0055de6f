"""The `arriero` command. One module per group of commands; `main` imports them when asked.

Lowest first:

    exits         Exit statuses.
    event_feed    Which events to show. Pure.
    find_sockets  Where the sockets are; error texts.
    place         Where both sockets are: here, or on another machine.
    connection    Control and event sockets, client side.
    completing    Completion in shells.
    output        Output, notes beside it, times.
    session       Options and output common to client commands.
    follow        Follow events across gaps and restarts.
    config_options  Options on configuration files; llama-swap's command line.
    check         `check`
    keys          `key new`, `key check`, `key list`
    main          Table of commands, exit codes.
    commands      `status`, `swap`, `unload`, `events`, `logs` and others
    requests      `activity`, `usage`, `cancel`

Packages within it:

    chat/     `ask` and `chat`: a client of the HTTP API. Above the files of this package.
    render/   Values -> tables, lines and progress bars. No I/O but `terminal`.
    offline/  Commands that need no supervisor: they write files, or what to put into one.
    serve/    Where the program begins, and `serve`. Above the files of this package.
    top/      `top`: the live view. Above the files of this package.
"""
