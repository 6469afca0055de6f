"""Chat completions, the API of OpenAI and of most servers. Wire format, sections 4 and 5.

Lowest first:

    usage    Usage in a chunk or response.
    dialect  Chunks without text; errors; the end of a stream.
    api      `ChatApi`.
"""
