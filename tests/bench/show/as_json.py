"""Results as JSON."""

from dataclasses import asdict

from ..results import Results
from ..rows import ROWS


def as_json(results: Results, machine: dict[str, object]) -> dict[str, object]:
    """Return everything, medians and single values, for a file."""
    asked = []
    for row in ROWS.values():
        for promise in row.asked:
            value, met = results.verdict(row, promise)
            asked.append({"row": row.name} | asdict(promise) | {"value": value, "met": met})
    return {
        "machine": machine,
        "units": {row.name: row.unit for row in ROWS.values()},
        "medians": {
            target: {row: results.median(target, row) for row in values}
            for target, values in results.values.items()
        },
        "values": results.values,
        "errors": results.errors,
        "asked": asked,
        "before": results.before,
        "changes": [
            {"row": row.name, "workers": workers} | asdict(found)
            for row, workers, found in results.changes()
        ],
        "remarks": results.remarks,
    }
