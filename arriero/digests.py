"""Digests and random words, from Python's own code.

`hashlib` and `secrets` load OpenSSL for the same, which takes 2 MB of each process that asks it.
"""

import os
from _operator import _compare_digest as same  # as `hmac` has it where there is no OpenSSL
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # a Python that was built without
            from hashlib import sha256

__all__ = ["random_hex", "same", "sha256"]


def random_hex(size: int) -> str:
    """Return `size` random bytes in hexadecimal: nobody can guess them."""
    return os.urandom(size).hex()
