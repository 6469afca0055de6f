"""All models, and which of them have a process."""

from collections.abc import Iterable

from ..messages.events import Spec
from .model_state import ModelState


class ModelTable:
    """The states of all models, by name.

    Each of the mappings stays the same object; who holds one sees every change.

    Attributes:
        all: All models, in configured order.
        live: Those whose process exists or is about to, and that are not asleep.
        asleep: Those whose process sleeps.
    """

    def __init__(self, specs: Iterable[Spec] = (), *, now: float = 0.0) -> None:
        self.all = {spec.model: ModelState(spec, since=now) for spec in specs}
        self.live: dict[str, ModelState] = {}
        self.asleep: dict[str, ModelState] = {}

    def with_process(self) -> list[ModelState]:
        """Return those that are live or asleep."""
        return [*self.live.values(), *self.asleep.values()]

    def staying(self) -> frozenset[str]:
        """Return the models that run and are not on their way out."""
        return frozenset(name for name, entry in self.live.items() if not entry.is_leaving)

    def file(self, entry: ModelState) -> None:
        """File a model under what its state is now; forget one that was removed and has stopped."""
        model = entry.spec.model
        self.asleep.pop(model, None)
        if not entry.is_at_rest:
            self.live[model] = entry
            return
        self.live.pop(model, None)
        if entry.state == "asleep":
            self.asleep[model] = entry
        elif entry.removed:
            del self.all[model]
