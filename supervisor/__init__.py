"""Owns the processes: the only package that starts or stops one.

Packages and files in layers, the lowest first: a file imports only from its own package and from
layers that come earlier (tests/test_layers.py holds the list). Each package begins with a map of
its files.

    errors            What the supervisor raises; `Problem`.
    text/             Pure helpers for text that several parts share. Imports nothing of the others.

    llamacpp/         Knowledge of llama.cpp: options, command lines, keys, GGUF headers, preset
                      files.
    config/yaml/      YAML text <-> tree of nodes with line and column.

    host/             The machine around us: systemd, sockets, runtime folder, log, files.
    placement/        Models that may be loaded side by side. Pure.

    memory/           Devices, sizes of models, reservations, victims.
    processes/        One child process, its output, its port, and nothing left behind.

    progress/         Progress of a model load: sources, learned times, estimator.
    facts/            What a server told of its model when it last ran.
    pricing/          Prices of models: the price list, patterns, and the feed that refreshes it.
    machine/          What the machine is, and what it does: facts and samples.
    scheduling/messages/  What the swap engine is told, and what it orders.
    store/            Records of requests on disk: SQLite, in a process of its own.

    scheduling/states/  What it remembers of models and waiters.

    scheduling/room/  Who may be there beside whom, and whose turn it is.

    scheduling/       The swap engine (sans-IO) and the dispatcher that carries out its commands.

    config/schema/    One declaration per key: type, default, documentation, JSON schema.
    ray/              Models on the machines of a Ray cluster: tether, agent and bridge.

    config/           YAML files -> immutable `Config`. `load` is the only entry point.

    launchers/        What starts model servers: here, or on another machine.
    peers/            Other machines that have models, and which of them answers a request.
    slots/            Prompt caches of llama-server on disk; sleep of servers.
    models/signs/     Signs that a model server is ready, or alive.

    models/start/     One start of a model server, from spawn to end.

    config/lint/      `arriero check`: valid configuration that is almost certainly a mistake.
    config/shown/     Files of a configuration as they may be shown, without secrets.
    generate/         Writes configurations from GGUF folders and llama-server presets; files that
                      operators copy.
    models/           Model servers: all starts, preload, sizes.
    page_cache/       Files of models in the page cache: read ahead, and kept.
    telemetry/        Spans of requests, for a collector of OpenTelemetry.
    workers/          Worker processes and the lease socket they talk to.

    reload/           Watches the configuration files and puts a new configuration in force.

    metrics/          Numbers of what this program and its models do, for Prometheus.

    control/          Control socket and event socket for scripts, and limits on connections.
    lifetime/         Beginning and end of a supervisor, and what the next one is left.

    app               Wiring: opens the parts in order; shutdown is the reverse.

    cli/render/       Values -> tables, lines and progress bars. No I/O but `terminal`.

    cli/              The `arriero` command. One module per group of commands; `main` imports them
                      when asked.

    cli/chat/         `arriero ask` and `arriero chat`.
    cli/offline/      Commands that need no supervisor.
    cli/serve/        Where the program begins, and `serve`.
    cli/top/          `arriero top`.

    __main__          `python -m arriero.supervisor`.

data/ holds what an operator copies.
This package never imports `worker`.
"""
