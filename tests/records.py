"""Records of requests, for tests of those who store, send and show them."""

from msgspec.structs import replace

from arriero.protocol.records import RequestRecord

RECORD = RequestRecord(
    request_id="r1",
    t=1.0,
    path="/v1/x",
    asked="m",
    model="m",
    api="openai",
    stream=False,
    status=200,
    outcome="ok",
    duration_ms=12.5,
)


def record(request_id: str = "r1", **changes: object) -> RequestRecord:
    """Return `RECORD` with changes."""
    return replace(RECORD, request_id=request_id, **changes)
