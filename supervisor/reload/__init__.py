"""Watches the configuration files and puts a new configuration in force.

Lowest first:

    change_detector  Debounce of file changes. Pure.
    reloader         One reload at a time; applies it.
    inspector        Tells what is in the files, without secrets.
    profiles         Chooses a profile.
    watcher          Polls the files.
"""
