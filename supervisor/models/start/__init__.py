"""One start of a model server, from spawn to end.

Lowest first:

    adoption          Models of an earlier supervisor.
    exit_reason       Exit -> error message.
    not_ready_reason  Why a start is not ready yet.
    output_log        Last output lines per model.
    server_kind       llama-server, vLLM, ...
    start_retry       Retries of a start that ended too early.
    choices           Its port, its key, its name; the command that follows.
    displaced         Whether another program has taken its port.
    load_progress     How far its load is.
    readiness         When its server answers.
    try_state         What is known of one try of a start.
    sleeper           Its sleep.
    model_start       All of it: runs its processes, and reports.
"""
