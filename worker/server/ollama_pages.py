"""What Ollama's clients are told of models. Pure.

What of it has which shape is in `apis.ollama.shown`.
"""

from datetime import UTC, datetime
from typing import Final

from ..apis.model_names import ModelNames
from ..apis.ollama.shown import OllamaModel, OllamaModels, OllamaShown
from ..progress.model_view import ProgressView
from .listings import Listings

# As memory is told of: all other devices are those of GPUs.
_MAIN_MEMORY: Final = "ram"

# They have a process that may answer.
_RUNNING: Final = frozenset({"ready", "draining", "starting"})


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
        able = self._names.find(self._names.without_usual_tag(name)).route.abilities
        declared = {
            "completion": "text" in able.gives,
            "tools": able.tools,
            "vision": "image" in able.takes,
        }
        return OllamaShown(
            modified_at=self._since,
            capabilities=tuple(word for word, is_so in declared.items() if is_so),
        )
