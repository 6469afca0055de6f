"""Progress of a model load: sources, learned times, estimator.

Lowest first:

    bytes_loaded      Bytes read by a loading process.
    log_lines         Hints from upstream log lines.
    proc_counters     /proc counters.
    server_report     llama-server router report lines.
    stage_times       Learned stage durations.
    load_stages       Phases of the last starts, and those of a request.
    estimator         All sources -> fraction and ETA.
    stage_times_file  Loads and saves them.
"""
