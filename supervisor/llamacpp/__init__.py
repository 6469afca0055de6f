"""Knowledge of llama.cpp: options, command lines, keys, GGUF headers, preset files.

Pure but for file reads.

Lowest first:

    gguf_constants  Numbers and names in GGUF headers.
    gguf            GGUF header reader.
    model_files     The files that a command loads.
    command         Port, host, sockets and files in a llama-server command line.
    api_key         The key that a server wants.
    api_key_file    Reads a file of keys.
    load_report     When a server is asked to report its start.
    options         Table of llama-server options.
    presets_ini     Parser of llama-server preset files.
"""
