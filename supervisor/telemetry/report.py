"""What the exporter's process says of its work."""

import msgspec


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of requests so far, in this process.

    Attributes:
        exported: Their spans have arrived.
        lost: They have not, or nobody knows.
        why: What went wrong last; may be empty.
        seq: Number of the last record of which that is known.
    """

    exported: int = 0
    lost: int = 0
    why: str = ""
    seq: int = 0
