"""Watches the configuration files and puts a new configuration in force.

Lowest first:

    change_detector  Debounce of file changes. Pure.
    reloader         One reload at a time; applies it.
    watcher          Polls the files.
"""
