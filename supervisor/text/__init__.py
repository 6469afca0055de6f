"""Pure helpers for text that several parts share. Imports nothing of the others.

Lowest first:

    addresses     Listen addresses, base URLs, paths.
    command_line  Split and join command lines, without a shell.
    did_you_mean  Closest-match suggestions.
    printable     Others' text, harmless to a terminal.
    redact        Hide secrets in commands and URLs.
"""
