"""The official clients. They take seconds to import: that is done for the first test that asks one.

Annotations that name something of theirs have to be read late as well.
"""

from __future__ import annotations

from collections.abc import Mapping
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

# Seconds for a response of a server in this process, on a busy machine.
_PATIENCE_S = 20.0


def openai_at(
    port: int, *, max_retries: int = 0, headers: Mapping[str, str] | None = None
) -> openai.OpenAI:
    """Return OpenAI's client for a server on this machine."""
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="k",
        timeout=_PATIENCE_S,
        max_retries=max_retries,
        default_headers=headers,
    )


def anthropic_at(
    port: int, *, max_retries: int = 0, headers: Mapping[str, str] | None = None
) -> anthropic.Anthropic:
    """Return Anthropic's client for a server on this machine."""
    return anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{port}",
        api_key="k",
        timeout=_PATIENCE_S,
        max_retries=max_retries,
        default_headers=headers,
    )
