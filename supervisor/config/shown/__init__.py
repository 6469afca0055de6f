"""Files of a configuration as they may be shown: every line in its place, without secrets.

Lowest first:

    secrets       What is secret, of values that are known.
    source_text   A file as it is shown.
"""
