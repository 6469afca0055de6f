"""Chat completions: OpenAI's, and of most servers. Wire format, 4 and 5.

Lowest first:

    usage         Usage in a chunk or response.
    chunk_filter  Drops chunks only we asked for.
    tool_calls    Assembles tool calls.
    told_error    An error in a stream, and what a delta says.
    dialect       Chunks without text; errors; the end of a stream.
    api           `ChatApi`.
"""
