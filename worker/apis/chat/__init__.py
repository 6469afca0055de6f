"""Chat completions: OpenAI's, and of most servers. Wire format, 4 and 5.

Lowest first:

    usage         Usage in a chunk or response.
    chunk_filter  Drops chunks only we asked for.
    dialect       Chunks without text; errors; the end of a stream.
    api           `ChatApi`.
"""
