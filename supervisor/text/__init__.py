"""Pure helpers for text that several parts share. Imports nothing of the others.

Lowest first:

    addresses     Listen addresses, base URLs, paths.
    command_line  Split and join command lines, without a shell.
    did_you_mean  Closest-match suggestions.
    entries       Named entries of one version, as JSON.
    line_ring     The last lines of a log.
    log_times     Times before lines of a log.
    printable     Others' text, harmless to a terminal.
    redact        Hide secrets in commands and URLs.
"""
