"""The official clients. They take seconds to import: that is done for the first test that asks one.

Annotations that name something of theirs have to be read late as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anthropic as anthropic
    import openai as openai
else:

    class _Late:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # pytest looks for marks of its own everywhere
                raise AttributeError(name)
            return getattr(import_module(self._name), name)

    anthropic, openai = _Late("anthropic"), _Late("openai")
