"""What servers tell of their models -> facts. Total: what cannot be read is not known.

Sources: llama.cpp, tools/server/README.md ("GET /props", "GET /v1/models"), seen with build
571d0d5; vLLM, vllm/entrypoints/openai/models/protocol.py (`max_model_len`).
"""

from typing import Final

import msgspec

from arriero.protocol.read_json import JsonReader
from arriero.protocol.worker_config import SeenFacts

# Larger numbers are no context, no count of parameters and no size of a file.
_MAX_TOKENS: Final = 2**40
_MOST: Final = 2**60


class _CardMeta(msgspec.Struct):
    n_ctx: int = 0
    n_ctx_train: int = 0
    n_params: int = 0
    size: int = 0


class _Card(msgspec.Struct):
    meta: _CardMeta | None = None
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[_Card] = []


class _SlotSettings(msgspec.Struct):
    n_ctx: int = 0


class _Modalities(msgspec.Struct):
    vision: bool = False
    audio: bool = False


class _TemplateCaps(msgspec.Struct):
    supports_tools: bool = False


class _Props(msgspec.Struct):
    default_generation_settings: _SlotSettings | None = None
    modalities: _Modalities | None = None
    chat_template_caps: _TemplateCaps | None = None


_cards: Final = JsonReader(_Cards)
_props: Final = JsonReader(_Props)


def read_facts(models: bytes, props: bytes = b"") -> SeenFacts:
    """Return what a server tells.

    Args:
        models: Its ``/v1/models``.
        props: Its ``/props``; only llama-server has it.
    """
    cards = _cards.find(models)
    card = cards.data[0] if cards is not None and cards.data else _Card()
    meta = card.meta or _CardMeta()
    said = _props.find(props) or _Props()
    settings = said.default_generation_settings or _SlotSettings()
    kinds = said.modalities or _Modalities()
    more = [name for name, has in (("image", kinds.vision), ("audio", kinds.audio)) if has]
    return SeenFacts(
        # What one request may have; llama-server divides its context among its slots.
        n_ctx=_within(settings.n_ctx or meta.n_ctx or card.max_model_len or 0, _MAX_TOKENS),
        n_ctx_train=_within(meta.n_ctx_train, _MAX_TOKENS),
        n_params=_within(meta.n_params, _MOST),
        size=_within(meta.size, _MOST),
        takes=("text", *more) if more else (),
        tools=said.chat_template_caps is not None and said.chat_template_caps.supports_tools,
    )


def _within(found: int, most: int) -> int:
    return found if 0 < found <= most else 0
