"""One start of a model server, from spawn to end.

Lowest first:

    adoption          Models of an earlier supervisor.
    exit_reason       Exit -> error message.
    not_ready_reason  Why a start is not ready yet.
    output_log        Last output lines per model.
    server_kind       llama-server, vLLM, ...
    start_retry       Retries of a start that ended too early.
"""
