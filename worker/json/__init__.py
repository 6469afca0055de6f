"""JSON texts by their bytes: where values are, and edits that leave the rest as it is.

Lowest first:

    spans          Where the values of a JSON text are, in steps.
    read           JSON texts -> values, where that takes no long time.
    edit           Byte-preserving member edits.
    filters        Removes and sets members by paths.
    rules          Changes members where conditions hold.
    large_body     Bodies too long to be read in one go.
    prompt_prefix  How a prompt begins.
"""
