"""Commands that need no supervisor: they write files, or what to put into one.

Lowest first:

    new_file    Writes a file that was not there.
    files       `example`, `unit`, `schema`
    presets     `import`
    keygen      `keygen`
    init        `init`
    completion  `completion`
    manual      `man`
"""
