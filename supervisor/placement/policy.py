"""Models that are evicted so that another one can run.

`OneAtATime` and `Groups` are here; the matrix, which needs a language and a search, has its own
files. Memory has its place here, too, once it is counted.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec


class PlacementPolicy(Protocol):
    """Decides which models cannot run beside which."""

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that end before `target` is started.

        No model has to go for one that is among `running`: it need not be started. (llama-swap
        asks its groups anew for every request, so that a request for a running model of an
        exclusive group ends what was started beside it. With requests for both in turn, each one
        costs a start; here both go on running, as they were allowed to.)

        It need not be symmetric: `a` may have to go for `b` while `b` may be started beside `a`.
        Nor need it follow from pairs: any two of three may run together, and yet not all three.
        """
        ...

    def can_run_together(self, models: Iterable[str]) -> bool:
        """Return whether `models` may all run at the same time.

        In whatever order they are started.
        """
        ...


def left_running(models: Iterable[str], policy: PlacementPolicy) -> tuple[str, ...]:
    """Return the `models` that run in the end, started in order."""
    running: list[str] = []
    for model in dict.fromkeys(models):
        gone = policy.evicted_by(model, running)
        running = [*(other for other in running if other not in gone), model]
    return tuple(running)


class OneAtATime(PlacementPolicy):
    """Every model needs the whole machine."""

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return all that run; none if `target` is among them."""
        there = frozenset(running)
        return frozenset() if target in there else there

    def can_run_together(self, models: Iterable[str]) -> bool:
        """Return whether there is one model at most."""
        return len(frozenset(models)) <= 1


# The group of the models that are in no other. llama-swap's name for it: it may be in its files.
DEFAULT_GROUP: Final = "(default)"


class Group(msgspec.Struct, frozen=True):
    """Some models, and the effect of starting one of them.

    Attributes:
        name: Of the group.
        members: Ids of models.
        swap: Only one member runs at a time.
        exclusive: Starting a member stops the members of other groups, but of persistent ones.
        persistent: No other group stops its members.
    """

    name: str
    members: tuple[str, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


class Groups(PlacementPolicy):
    """Models in groups, with the meaning of llama-swap.

    Starting a member of a group that is *not* exclusive leaves a running exclusive group alone, and
    both run then. It looks like an oversight, and configurations rely on it.

    Source: llama-swap, the comments on groups in its example configuration, and its `Group` router.

    Attributes:
        by_hand: Those that were written, without the group of all others.
    """

    def __init__(self, groups: Iterable[Group], models: Iterable[str]) -> None:
        """Sort the models into groups.

        Args:
            groups: As written. No model is in two of them; the reader of the configuration sees to
                that. One called `(default)` is replaced by the group of all others.
            models: Ids of all models. Those in no group are in `(default)`.
        """
        self.by_hand = tuple(group for group in groups if group.name != DEFAULT_GROUP)
        self._group_of = {member: group for group in self.by_hand for member in group.members}
        others = sorted(frozenset(models) - self._group_of.keys())
        self._default = Group(DEFAULT_GROUP, tuple(others))

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that cannot stay when `target` is started."""
        there = frozenset(running)
        if target in there:
            return frozenset()
        group = self.group_of(target)
        return frozenset(model for model in there if _gives_way(self.group_of(model), group))

    def can_run_together(self, models: Iterable[str]) -> bool:
        """Return whether `models` share one group that does not swap.

        Members of two groups may meet as well, if neither is exclusive, but not by llama-swap's
        rule for spillover, whose question this is.
        """
        models = frozenset(models)
        if len(models) <= 1:
            return True
        groups = {self.group_of(model).name for model in models}
        return len(groups) == 1 and not self.group_of(min(models)).swap

    def group_of(self, model: str) -> Group:
        """Return the group of `model`; None if it has none.

        A model that was removed may still run, and is in none.
        """
        return self._group_of.get(model, self._default)


def _gives_way(group: Group, starting: Group) -> bool:
    """Return whether a start of `starting` evicts members of `group`."""
    if group.name == starting.name:
        return group.swap
    return starting.exclusive and not group.persistent
