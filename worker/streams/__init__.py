"""Framing of response streams: SSE and the AWS event stream.

Lowest first:

    aws_event_stream  vnd.amazon.eventstream.
    sse_events        SSE event parser.
    merge             Continues our stream with the upstream's; `Merge` interface.
    sse_frames        Frame boundaries.
    stream_end        End-of-stream detection.
"""
