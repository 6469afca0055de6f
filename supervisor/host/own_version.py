"""The version of this program: a file is read, with a module that nothing else needs."""

from functools import cache

import arriero


@cache
def own_version() -> str:
    """Return it."""
    return arriero.__version__
