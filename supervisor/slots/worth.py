"""Whether restored slots help: the next reply says how much of its prompt came from them.

For some models llama-server restores a slot, and then reads the whole prompt all the same: those
with a sliding window (unless ``--swa-full``) or with recurrent layers, whose checkpoints are not
saved. That is seen by the tokens that its next reply took from the cache, and so is a use in which
no prompt is like the one before.

Source: https://github.com/ggml-org/llama.cpp/issues/28194.
"""

from typing import Final

import msgspec

from arriero.protocol.records import RequestRecord

# Restores in a row without any use, after which no more is saved. One or two may be other
# conversations.
MAX_MISSES: Final = 3

# Share of a prompt that has to come from the cache. For less than that llama-server itself does not
# call a slot similar (--slot-prompt-similarity), and a chat template alone is never nothing.
LEAST_SHARE: Final = 0.1


class _Trial(msgspec.Struct):
    """How one model did.

    Attributes:
        arguments: Those of its command; with others it is another trial.
        misses: Restores in a row that were of no use.
        why_off: Why nothing is saved any more; empty as long as it is.
        waits_since: Unix time of the last restore, until the next reply.
    """

    arguments: str
    misses: int = 0
    why_off: str = ""
    waits_since: float | None = None


class Worth:
    """How all models did, since this process began."""

    def __init__(self) -> None:
        self._trials: dict[str, _Trial] = {}

    def why_off(self, model: str, arguments: str) -> str:
        """Return why slots of `model` are not saved; empty if they are."""
        return self._trial(model, arguments).why_off

    def give_up(self, model: str, arguments: str, why: str) -> None:
        """Note that slots of `model` cannot be saved, or are not worth it."""
        self._trial(model, arguments).why_off = why

    def restored(self, model: str, arguments: str, unix_now: float) -> None:
        """Note that its slots were restored, before any request."""
        self._trial(model, arguments).waits_since = unix_now

    def took_too_long(self, model: str, arguments: str) -> bool:
        """Note a restore that was given up; return whether that was one too many."""
        return self._miss(self._trial(model, arguments), "restoring them takes too long")

    @property
    def is_curious(self) -> bool:
        """Whether there is any model whose replies may tell something."""
        return bool(self._trials)

    def judge(self, record: RequestRecord) -> bool | None:
        """Judge by the first reply after a restore.

        Returns:
            Whether that helped; None if the reply does not tell.
        """
        trial = self._trials.get(record.model)
        if trial is None or trial.waits_since is None or not record.input_tokens:
            return None
        if record.t + record.duration_ms / 1000 < trial.waits_since:
            return None  # of the process before
        trial.waits_since = None
        if record.cached_tokens >= LEAST_SHARE * record.input_tokens:
            trial.misses = 0
            return True
        self._miss(trial, f"the last {MAX_MISSES} that were restored have saved no time")
        return False

    def forget(self, models: frozenset[str]) -> None:
        """Forget all but `models`."""
        for model in self._trials.keys() - models:
            del self._trials[model]

    def _trial(self, model: str, arguments: str) -> _Trial:
        trial = self._trials.get(model)
        if trial is None or trial.arguments != arguments:
            trial = self._trials[model] = _Trial(arguments)
        return trial

    def _miss(self, trial: _Trial, why: str) -> bool:
        trial.misses += 1
        if trial.misses >= MAX_MISSES:
            trial.why_off = why
        return bool(trial.why_off)
