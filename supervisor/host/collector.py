"""Python's cyclic garbage collector, while much is made that stays."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Generator[None, None, None]:
    """Collect nothing in this block.

    For imports: the collector would look through all modules again and again, a fifth of the time
    that they take, and find nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
