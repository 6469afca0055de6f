"""Shapes of what Ollama's clients are told of models, and ask.

They expect members of which nothing is known here: of these, each has the value by which Ollama
itself says so (an empty text, 0). What their types let be left out is left out.

Source: Ollama's API reference, "List Local Models", "List Running Models", "Show Model
Information".
"""

from msgspec import UNSET, Struct, UnsetType, field

from ..management.answers import JsonAnswer


class OllamaDetails(JsonAnswer, frozen=True, kw_only=True):
    """What a file says of itself: nothing that a worker knows."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: tuple[str, ...] = ()
    parameter_size: str = ""
    quantization_level: str = ""


class OllamaModel(JsonAnswer, frozen=True, kw_only=True):
    """One model.

    Attributes:
        name, model: Its name, twice.
        modified_at: When what is said of it began to hold.
        size, size_vram: Bytes that are reserved for it, if memory decides and it runs.
    """

    name: str
    model: str
    modified_at: str | UnsetType = UNSET
    size: int = 0
    digest: str = ""
    details: OllamaDetails = OllamaDetails()
    size_vram: int | UnsetType = UNSET


class OllamaModels(JsonAnswer, frozen=True, kw_only=True):
    """The answer to a listing."""

    models: tuple[OllamaModel, ...]


class OllamaShown(JsonAnswer, frozen=True, kw_only=True):
    """What is known of one model.

    Attributes:
        capabilities: Those that the configuration declares, or its server has told.
    """

    modified_at: str
    details: OllamaDetails = OllamaDetails()
    model_info: dict[str, int] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


class OllamaShowQuery(Struct, frozen=True, kw_only=True):
    """The body of a question for one model; `name` is what it was called before."""

    model: str | None = None
    name: str | None = None
