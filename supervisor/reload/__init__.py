"""Watches the configuration files and puts a new configuration in force.

Lowest first:

    change_detector  Debounce of file changes. Pure.
    reloader         One reload at a time; applies it.
    profiles         Chooses a profile.
    watcher          Polls the files.
"""
