"""What Ollama's clients are told of models. Pure.

They expect members of which nothing is known here: of these, each has the value by which Ollama
itself says so (an empty text, 0). What their types let be left out is left out.

Source: Ollama's API reference, "List Local Models", "List Running Models", "Show Model
Information".
"""

from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

from ..apis.management.answers import JsonAnswer
from ..apis.model_names import ModelNames
from ..progress.model_view import ProgressView
from .listings import Listings

# As memory is told of: all other devices are those of GPUs.
_MAIN_MEMORY: Final = "ram"

# They have a process that may answer.
_RUNNING: Final = frozenset({"ready", "draining", "starting"})


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
        capabilities: Those that the configuration declares.
    """

    modified_at: str
    details: OllamaDetails = OllamaDetails()
    model_info: dict[str, int] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


class OllamaShowQuery(Struct, frozen=True, kw_only=True):
    """The body of a question for one model; `name` is what it was called before."""

    model: str | None = None
    name: str | None = None


class OllamaPages:
    """The answers of one moment.

    Args:
        names: The models of the configuration in force.
        view: How they stand.
        created: Unix time that all have in common, in whole seconds.
    """

    def __init__(self, names: ModelNames, view: ProgressView, created: int) -> None:
        self._names = names
        self._view = view
        self._listed = [one.id for one in Listings(names, view, created).models().data]
        self._since = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")

    def tags(self) -> OllamaModels:
        """Return all names that are listed, sorted."""
        return OllamaModels(
            models=tuple(
                OllamaModel(name=name, model=name, modified_at=self._since) for name in self._listed
            )
        )

    def ps(self) -> OllamaModels:
        """Return the models that run, sorted."""
        found = []
        for name in sorted(route.model for route in self._names.config.models):
            standing = self._view.standing(name)
            if standing.state in _RUNNING:
                memory = standing.memory or {}
                size = sum(memory.values())
                found.append(
                    OllamaModel(
                        name=name,
                        model=name,
                        size=size,
                        size_vram=size - memory.get(_MAIN_MEMORY, 0),
                    )
                )
        return OllamaModels(models=tuple(found))

    def show(self, name: str) -> OllamaShown:
        """Return what is known of one model.

        Raises:
            UnknownModel: There is none of that name.
        """
        able = self._names.find(self._names.without_usual_tag(name)).route.capabilities
        declared = {
            "completion": "text" in able.gives,
            "tools": able.tools,
            "vision": "image" in able.takes,
        }
        return OllamaShown(
            modified_at=self._since,
            capabilities=tuple(word for word, is_so in declared.items() if is_so),
        )
