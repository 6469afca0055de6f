"""Files of models in the page cache: read ahead of a start, and kept for later ones.

Lowest first:

    loaded_files   Files that a model loads, as they are on disk.
    choice         Which models' files are kept. Pure.
    orders         What the holder is told, and what it reports.
    holder_child   The holder: keeps files in main memory, and gives way.
    holder         Runs it.
    read_ahead     Reads files of the next model while others make room.
    warm_tier      Follows configuration, engine and memory: `keepInRam`.
"""
