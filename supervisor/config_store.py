"""Whether the file in which requests are kept can be used. Doing."""

import os
from pathlib import Path


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
