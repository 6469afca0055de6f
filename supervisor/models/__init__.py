"""Model servers: start, readiness, signs of life, kind, output, preload.

Lowest first:

    adoption          Models of an earlier supervisor.
    exit_reason       Exit -> error message.
    health            Polls the health endpoint.
    liveness          Liveness of a silent process.
    not_ready_reason  Why a start is not ready yet.
    output_log        Last output lines per model.
    preload           `on_startup.preload`.
    default_models    Models that come back when it is quiet.
    process_activity  Processor time and bytes of a server's processes.
    liveness_watch    Looks for these signs while models serve, all in one round.
    server_kind       llama-server, vLLM, ...
    start_retry       Retries of a start that ended too early.
    learned_models    Sizes and durations of earlier runs.
    memory_watch      Looks at devices and processes; keeps sizes.
    fleet             One task per model process.
"""
