"""Writes configurations from GGUF folders and llama-server presets; files that operators copy.

Lowest first:

    client_key    A new key of a client.
    unit_files    Units for systemd, and the example.
    write         Models -> YAML text with comments.
    from_presets  llama-server presets -> models.
    places        Where models and llama-server lie on a machine. Pure.
    ollama_files  Names and files of Ollama's models.
    from_scan     GGUF files -> models.
    gguf_files    Walks folders for GGUF files, within limits.
    search        Places -> models -> a configuration.
"""
