"""What a configuration needs beside itself: the files that it names, and packages."""

import os
from importlib.util import find_spec
from pathlib import Path

from ..pricing.price_list import MAX_LIST_BYTES, BadPriceList, PriceList, read_price_list


def store_problem(path: Path) -> str | None:
    """Return why `path` cannot be a database, and what would do; None if it can."""
    if path.is_dir():
        return f"{path} is a folder; write the path of a file"
    if path.exists():
        if not os.access(path, os.R_OK | os.W_OK):
            return f"{path} cannot be written; give this user the right, or choose another"
        return None
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}; create it, or choose another"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} cannot be written; give this user the right, or choose another"
    return None


def exporter_problem() -> str | None:
    """Return why nothing can be told to a collector, and what would do; None if it can."""
    try:
        is_there = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
        is_there = is_there and find_spec("opentelemetry.sdk.trace") is not None
    except (ImportError, ValueError):
        is_there = False
    if is_there:
        return None
    return "this needs OpenTelemetry's packages: pip install 'arriero[otel]', or leave it out"


def ray_problem() -> str | None:
    """Return why there can be no models on a cluster, and what would do; None if there can."""
    try:
        is_there = find_spec("ray") is not None
    except (ImportError, ValueError):
        is_there = False
    if is_there:
        return None
    return "this needs Ray's package: pip install 'arriero[ray]', here and on all machines"


def read_prices(path: Path) -> PriceList:
    """Return the list of prices in the file at `path`.

    Raises:
        BadPriceList: It cannot be read, or there are no prices in it; says what would do.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise BadPriceList(f"there is no file {path}; write the path of one, or a url")
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as exc:
        raise BadPriceList(f"cannot read {path}: {exc.strerror or exc}") from exc
    return read_price_list(data)
