"""Modules that others import and hardly anybody uses: they are loaded when they are used.

trio imports `ssl`, a codec for international domain names and more, which takes 2 MB of each
process, and 15 ms of its start. In their place stand modules that are empty until somebody asks
one of them for anything.
"""

import sys
import threading
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Final

LATE: Final = (
    "base64",
    "bz2",
    "csv",
    "difflib",
    "gzip",
    "hashlib",
    "hmac",
    "idna",
    "json",
    "lzma",
    "shlex",
    "shutil",
    "ssl",
    "tempfile",
)


def let_wait(names: Iterable[str] = LATE) -> None:
    """Put empty modules in the place of those that are not loaded yet."""
    for name in names:
        if name not in sys.modules and (spec := find_spec(name)) is not None and spec.loader:
            sys.modules[name] = _late(spec)


def _late(spec: ModuleSpec) -> ModuleType:
    module = module_from_spec(spec)
    if (path := spec.submodule_search_locations) is not None:
        del module.__path__  # whoever imports a part of a package asks for that first
    # Other threads wait until it is whole; what it imports itself may look at it before.
    turn = threading.RLock()
    is_loading = False

    def load(name: str) -> object:
        nonlocal is_loading
        if name == "__path__" and path is None:  # asked for by each `from module import`
            raise AttributeError(name)
        with turn:
            if is_loading:
                raise AttributeError(f"module {spec.name!r} has no attribute {name!r} yet")
            if vars(module).get("__getattr__") is load:
                is_loading = True
                try:
                    assert spec.loader is not None
                    if path is not None:
                        module.__path__ = path
                    spec.loader.exec_module(module)
                finally:
                    is_loading = False
                if module.__getattr__ is load:  # it has none of its own
                    del module.__getattr__
        return getattr(module, name)

    module.__getattr__ = load  # type: ignore[method-assign]
    return module
