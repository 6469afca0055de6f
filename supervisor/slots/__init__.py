"""Prompt caches of llama-server on disk: saved before a stop, restored after the next start.

Lowest first:

    manifest        Which files hold what, and for which server they are.
    saved_files     The files, and the file of the manifest.
    worth           Whether restoring helps.
    server_slots    Asks a llama-server to save and restore its slots.
    keeper          Saves and restores, within limits of time and disk.
"""
