"""When each model was in which phase of its starts, as the published events tell."""

from collections import OrderedDict, deque
from typing import Final, NamedTuple

import msgspec

from arriero.protocol.events import AnyEvent, ProgressMade, StateChanged
from arriero.protocol.records import LoadStage, RequestRecord
from arriero.protocol.values import Phase

# Models, and stages of each, that are remembered: those of its last starts.
_MAX_MODELS: Final = 256
_MAX_STAGES: Final = 64

# Of one request; a start has eight at the most, unless it is tried again and again.
_MAX_OF_REQUEST: Final = 16

# A start has come to its end, good or bad.
_OVER: Final = frozenset({"ready", "stopped", "asleep"})


class Stage(NamedTuple):
    """A model was in one phase. Unix times."""

    phase: Phase
    began: float
    ended: float


class LoadStages:
    """The last stages of each model."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, deque[Stage]] = OrderedDict()
        self._open: dict[str, Stage] = {}

    def take(self, event: AnyEvent, now: float) -> None:
        """Note what an event says of a start.

        Args:
            event: Any one.
            now: Unix time.
        """
        match event:
            case ProgressMade(model=model, progress=progress):
                is_open = self._open.get(model)
                if is_open is None or is_open.phase != progress.phase:
                    self._close(model, now)
                    self._open[model] = Stage(progress.phase, now, now)
                    if len(self._open) > _MAX_MODELS:
                        del self._open[next(iter(self._open))]
            case StateChanged(model=model, state=state) if state in _OVER:
                self._close(model, now)
            case _:
                pass

    def between(self, model: str, begin: float, end: float) -> list[Stage]:
        """Return the stages of `model`, in order, as far as they lie between two Unix times."""
        found = list(self._ended.get(model, ()))
        if (is_open := self._open.get(model)) is not None:
            found.append(is_open._replace(ended=end))
        clipped = (
            stage._replace(began=max(stage.began, begin), ended=min(stage.ended, end))
            for stage in found
        )
        return [stage for stage in clipped if stage.began < stage.ended]

    def completed(self, record: RequestRecord) -> RequestRecord:
        """Return `record` with the stages of the load for which it waited, if it did."""
        if not record.load_ms:
            return record
        waited_s = (record.queue_ms + record.load_ms) / 1000
        found = self.between(record.model, record.t, record.t + waited_s)
        stages = tuple(
            LoadStage(
                phase=stage.phase,
                from_ms=round((stage.began - record.t) * 1000, 1),
                took_ms=round((stage.ended - stage.began) * 1000, 1),
            )
            for stage in found[-_MAX_OF_REQUEST:]
        )
        return msgspec.structs.replace(record, load_stages=stages) if stages else record

    def _close(self, model: str, now: float) -> None:
        if (is_open := self._open.pop(model, None)) is None:
            return
        stages = self._ended.setdefault(model, deque(maxlen=_MAX_STAGES))
        self._ended.move_to_end(model)
        stages.append(is_open._replace(ended=now))
        if len(self._ended) > _MAX_MODELS:
            self._ended.popitem(last=False)
