"""Spans of requests, for a collector of OpenTelemetry.

A process of its own subscribes to the events that the supervisor publishes anyway, makes spans of
the records among them, and sends these. So neither workers nor supervisor ever wait for a
collector, or load a library for it; what comes too fast is lost by zmq's queue, whose numbers tell
how much that was.

Lowest first:

    spans           Record -> spans, by the conventions for GenAI. Pure.
    report          What the process says of its work.
    exporter_child  The process: events -> OTLP, by OpenTelemetry's own library.
    exporter        Runs it, and says what was lost.
"""
