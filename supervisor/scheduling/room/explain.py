"""The course of a request, in words, for `arriero explain`."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from arriero.protocol.control.models import ExplainReply

from ...placement.matrix import Matrix
from ...placement.policy import DEFAULT_GROUP, Groups, PlacementPolicy
from ..states.model_state import ModelState
from .needs import Blockage
from .room import Room
from .told import Fits, devices, why_others_go
from .turns import Turn


def explanation(
    entry: ModelState,
    turns: Sequence[Turn],
    now: float,
    *,
    policy: PlacementPolicy,
    live: Collection[str],
    is_contested: bool,
    blockage: Blockage | None = None,
) -> ExplainReply:
    """Return the course of a request for the model of `entry`.

    Args:
        entry: The state of the model.
        turns: The plan if the request came now: one of the turns is the model's.
        now: Time of the question.
        policy: Decides which models can run together.
        live: The models whose process exists.
        is_contested: An earlier turn needs its place.
        blockage: Why it cannot have room, whoever else went.
    """
    room = policy if isinstance(policy, Room) else None
    model = entry.spec.model
    at = next(number for number, turn in enumerate(turns) if turn.model == model)
    turn = turns[at]
    action: Literal["serve", "join", "start", "swap", "wait"] = "wait"
    if entry.state == "ready" and entry.is_full():
        why = f"{entry.spec.most} of it run, as many as its concurrencyLimit allows: it is refused"
    elif entry.state in {"ready", "draining"} and not entry.is_leaving and not is_contested:
        action, why = "serve", "it is ready"
    elif entry.state == "starting":
        action, why = "join", entry.remark or "it is being started already"
    elif not entry.is_at_rest:
        why = "it has to make room first, and is started again after that"
    elif entry.not_before > now:
        why = f"it failed, and is not started again for {entry.not_before - now:.1f} s"
    elif blockage is not None:
        why = f"{blockage.why}; {_blocked(entry, blockage)}"
    elif not turn.is_free:
        why = "other models get their turn first"
    elif turn.goes:
        action = "swap"
        how = _how_they_go(turn.goes, room.falls_asleep(model, turn.goes) if room else ())
        why = f"{how}: {reason(policy, model, turn.before)}"
    elif policy.evicted_by(model, live):
        leaving = ", ".join(sorted(set(live) - turn.after))
        why = f"it can start when what ends now is gone: {leaving}"
    elif room is not None and (late := room.needs.coming_back(model)):
        why = f"it can start when the memory of {', '.join(late)} has come back"
    else:
        action, why = "start", "nothing is in its way"
        if entry.state == "asleep":
            why = "it is asleep, and woken; nothing is in its way"
    return ExplainReply(
        model=model,
        state=entry.state,
        action=action,
        stops=tuple(sorted(turn.goes)) if action == "swap" else (),
        ahead=tuple(turn.model for turn in turns[:at]) if action == "wait" else (),
        why=why,
        devices=() if room is None else devices(room.ledger, now),
        models=() if room is None else Fits(room, now).of(model, turn),
        start_s=None if room is None else entry.start_s,
    )


def _how_they_go(goes: Iterable[str], falls_asleep: Collection[str]) -> str:
    stop = ", ".join(sorted(name for name in goes if name not in falls_asleep))
    sleep = ", ".join(sorted(falls_asleep))
    if not sleep:
        return f"{stop} would finish what runs, and stop"
    how = f"{sleep} would finish what runs, and fall asleep"
    return f"{how}; {stop} would stop" if stop else how


def _blocked(entry: ModelState, blockage: Blockage) -> str:
    if blockage.for_good or entry.spec.on_blocked == "refuse":
        return "requests are refused"
    if entry.spec.on_blocked == "use":
        return f"requests are served by {entry.spec.instead}"
    return "requests wait"


def reason(policy: PlacementPolicy, target: str, running: Iterable[str]) -> str:
    """Return the part of the configuration that makes `target` evict others."""
    match policy:
        case Room():
            return why_others_go(policy, target, running)
        case Matrix():
            choice = policy.choose(target, running)
            if choice.set_name is None:
                return "it is in no set of the matrix, and runs alone"
            return f"of the sets that have it, {choice.set_name} costs least ({choice.cost})"
        case Groups(by_hand=(_, *_)):
            return _groups(policy, target, policy.evicted_by(target, running))
        case _:
            return "one model runs at a time"


def _groups(policy: Groups, target: str, goes: Iterable[str]) -> str:
    group = policy.group_of(target)
    are_siblings = {policy.group_of(model).name == group.name for model in goes}
    if group.name == DEFAULT_GROUP:
        one, whole = "models in no group", "models in no group stop"
    else:
        one, whole = f"group {group.name}", f"group {group.name} stops"
    reasons = [f"of {one} one runs at a time"] if True in are_siblings else []
    if False in are_siblings:
        reasons.append(f"{whole} other groups")
    return ", and ".join(reasons)
