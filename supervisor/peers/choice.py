"""Which of several machines with the same model answers a request. Pure.

A machine that has the model in memory goes before one that is loading it, and that before one that
would have to load it. Of those that have it, the prompt's prefix decides, so that a conversation
finds its prompt cache again: each prefix has an order of machines of its own (rendezvous hashing,
Thaler and Ravishankar 1998), and takes the first one that is not much fuller than all are on
average (bounded loads, Mirrokni et al. 2018). Where the model has to be loaded, its name decides,
or else each prompt would load it somewhere else.

A machine is passed over only if another one is plainly quicker, and even more plainly if that one
would first have to load the model. What is known of other machines is a second old: who always took
the best one would send everybody to the same one, and the next second to another one.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from arriero.protocol.values import State

LOCAL: Final = ""
"""The machine that this program runs on, as `Candidate.host`."""

# Slots of a machine that does not tell how many it has.
_SLOTS: Final = 4

# How much fuller than its slots, or than the average of those that have the model, a machine may be
# before a prompt goes elsewhere: to wait a little costs less than to read all of a prompt again.
_FULLER: Final = 1.25

# A wait is plainly longer than another one if it exceeds (factor * the other one + seconds).
_SLACK: Final = (1.25, 1.0)
# The same if for the other one the model would have to be loaded: that makes others leave memory.
_LOAD_SLACK: Final = (2.0, 2.0)

_READY, _UNKNOWN, _COMING, _COLD = range(4)
_WORDS: Final = {
    _READY: "has it in memory",
    _UNKNOWN: "does not tell whether it has it in memory",
    _COMING: "is loading it",
    _COLD: "would have to load it",
}

_NOTHING_RUNS: Final[Collection[State]] = ("stopped", "asleep")

_64_BITS: Final = 2**64 - 1


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that has the model that is asked for. Numbers are finite and not negative.

    Attributes:
        target: Name of the model there: its own here, or ``<peer>/<model>``.
        host: `LOCAL`, or the peer's id.
        ident: What all that choose call this machine: by it a prompt finds the same one from each
            of them. Empty: `host` is as good.
        state: Of the model there; None: it is not known.
        running: Requests that run on it, ours and those of others, as far as they are told.
        waiting: Requests that wait for it.
        slots: Requests that run side by side; 0: it is not known.
        wait_s: Expected seconds until a new request would begin there; 0 if there is a free slot.
        usable: It was reached lately, or is to be tried again.
    """

    target: str
    host: str
    ident: str = ""
    state: State | None = None
    running: int = 0
    waiting: int = 0
    slots: int = 0
    wait_s: float = 0.0
    usable: bool = True


class Ranking(msgspec.Struct, frozen=True):
    """The machines that may answer a request.

    Attributes:
        targets: `Candidate.target` of each, the one to be asked first; none if none may.
        reason: Why that one is the first, or why there is none, in words.
    """

    targets: tuple[str, ...]
    reason: str


class _Rated(msgspec.Struct, frozen=True):
    """A candidate; `kind` says how near the model is, `score` is its place by hash (low first)."""

    one: Candidate
    kind: int
    slots: int
    load: int
    score: float


def choose(
    name: str,
    candidates: Iterable[Candidate],
    *,
    key: bytes = b"",
    tried: Collection[str] = (),
) -> Ranking:
    """Return who may answer a request for `name`, in order. The order of `candidates` is no matter.

    Args:
        name: The model, as all machines call it: decides where it is loaded.
        candidates: Machines that have it.
        key: Stands for the beginning of the prompt; empty if there is none that could be cached.
        tried: Targets that have failed for this request.
    """
    of_name, of_key = _seed(name), _digest(key) if key else None
    rated: list[_Rated] = []
    left_out = 0
    for one in candidates:
        if not one.usable or one.target in tried:
            left_out += 1
            continue
        kind = _kind(one)
        slots = one.slots or _SLOTS
        if kind == _COLD or of_key is None:
            score = _score(one.ident or one.host, of_name, 1)
        else:
            score = _score(one.ident or one.host, of_key, slots)
        rated.append(_Rated(one, kind, slots, one.running + one.waiting, score))
    if not rated:
        return Ranking((), _why_none(left_out, tried))
    if len(rated) == 1:
        only = rated[0]
        words = "the only one that is left" if left_out else "the only one that has it"
        return Ranking((only.one.target,), f"{_called(only)} is {words}")
    ranked: list[_Rated] = []
    why = ""
    for kind in range(_COLD + 1):
        alike = [it for it in rated if it.kind == kind]
        if alike:
            why_here = _by_wait(alike) if kind > _UNKNOWN else _by_load(alike, of_key is not None)
            why = why if ranked else why_here
            ranked += alike
    if (quicker := _quicker(ranked)) is not None:
        why = (
            f"it is quicker there ({_seconds(quicker)}) than at {_called(ranked[0])} "
            f"({_seconds(ranked[0])})"
        )
        ranked.remove(quicker)
        ranked.insert(0, quicker)
    first = ranked[0]
    reason = f"{_called(first)} {_WORDS[first.kind]}"
    if why:
        reason += f"; {why}"
    return Ranking(tuple([it.one.target for it in ranked]), reason)


def _kind(one: Candidate) -> int:
    if one.state == "ready":
        return _READY
    if one.state is None:
        return _UNKNOWN
    # Who is waited for will load it, told or not; so will one that was sent something by us.
    is_wanted = one.waiting > 0 or (one.running > 0 and one.state in _NOTHING_RUNS)
    return _COMING if one.state == "starting" or is_wanted else _COLD


def _by_load(alike: list[_Rated], has_key: bool) -> str:
    """Put those that are ready in order, and say why the first one is the first."""
    if not has_key:
        alike.sort(key=lambda it: (it.load / it.slots, it.one.host != LOCAL, *_place(it)))
        return "it is the least busy one" if len(alike) > 1 else ""
    if len(alike) == 1:
        return ""
    home = min(alike, key=_place)
    mean = (1 + sum([it.load for it in alike])) / sum([it.slots for it in alike])

    def order(it: _Rated) -> tuple[float, float, str]:
        load, slots = it.load, it.slots
        is_full = load >= int(_FULLER * slots) and load >= math.ceil(_FULLER * mean * slots)
        return load / slots if is_full else 0.0, it.score, it.one.target

    alike.sort(key=order)
    if alike[0] is home:
        return "prompts that begin like this one go there"
    return f"{_called(home)}, where prompts that begin like this one go, is busy"


def _by_wait(alike: list[_Rated]) -> str:
    """Put those that are not ready in order, and say why the first one is the first."""
    least = min(it.one.wait_s for it in alike)
    alike.sort(
        key=lambda it: (
            it.one.wait_s if _is_plainly(it.one.wait_s, least) else 0.0,
            it.score,
            it.one.target,
        )
    )
    return f"ready in about {_seconds(alike[0])}"


def _quicker(ranked: Sequence[_Rated]) -> _Rated | None:
    """Return the one that is to go before the first; None if that is good enough."""
    first = ranked[0]
    plainly = [
        it
        for it in ranked[1:]
        if _is_plainly(first.one.wait_s, it.one.wait_s, _LOAD_SLACK if it.kind == _COLD else _SLACK)
    ]
    if not plainly:
        return None
    least = min(it.one.wait_s for it in plainly)
    near = [it for it in plainly if not _is_plainly(it.one.wait_s, least)]
    return min(near, key=lambda it: (it.kind, *_place(it)))


def _is_plainly(longer_s: float, wait_s: float, slack: tuple[float, float] = _SLACK) -> bool:
    factor, more_s = slack
    return longer_s > factor * wait_s + more_s


# --- hashes --------------------------------------------------------------------------------------


def _place(it: _Rated) -> tuple[float, str]:
    return it.score, it.one.target


def _digest(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


@lru_cache(4096)
def _seed(text: str) -> int:
    return _digest(text.encode("utf-8", "surrogatepass"))


def _score(host: str, seed: int, weight: int) -> float:
    """Return the place of a host by hash: the lowest is the first, in `weight` of the cases."""
    bits = (_seed(host) ^ seed) * 0x9E3779B97F4A7C15 & _64_BITS
    bits = (bits ^ bits >> 32) * 0xD6E8FEB86659FD93 & _64_BITS
    return -math.log((bits >> 11 | 1) * 2.0**-53) / weight


# --- words ---------------------------------------------------------------------------------------


def _called(it: _Rated) -> str:
    return "this machine" if it.one.host == LOCAL else f"'{it.one.host}'"


def _seconds(it: _Rated) -> str:
    return f"{it.one.wait_s:.1f} s" if it.one.wait_s < 10 else f"{it.one.wait_s:.0f} s"


def _why_none(left_out: int, tried: Collection[str]) -> str:
    if not left_out:
        return "no machine has it"
    if not tried:
        return f"none of {left_out} machines that have it can be reached"
    return (
        f"none of {left_out} machines that have it is left: they have failed, or cannot be reached"
    )
