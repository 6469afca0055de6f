"""What spares a second visit of a model some of its work: saved prompt caches, and sleep.

The slots of a llama-server are saved before a stop, and restored after the next start.

Lowest first:

    manifest        Which files hold what, and for which server they are.
    saved_files     The files, and the file of the manifest.
    worth           Whether restoring helps.
    server_slots    Asks a llama-server to save and restore its slots.
    keeper          Saves and restores, within limits of time and disk.
    sleep           Puts servers to sleep in the place of a stop, and wakes them.
"""
