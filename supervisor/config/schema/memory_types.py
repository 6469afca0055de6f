"""What the keys of memory take: sizes on devices, budgets, and what a blocked model does."""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from ...memory.devices import Budget
from ..yaml.tree import Node
from .json_schema import fixed, one_of
from .reader import Key, Place, ValueType, Wrong
from .sections import section
from .types import choice, named, read_text, size, words

MemoryMode: TypeAlias = Literal["auto", "off"]
PinSetting: TypeAlias = Literal["", "always", "manual"]

# Names of devices, as they are found: main memory and GPUs.
_DEVICE: Final = re.compile(r"ram|gpu\d{1,2}")
_NAMES: Final = r"^(?:ram|gpu\d{1,2})$"

_MIB: Final = 1024**2
_MOST: Final = 16384 * 1024 * _MIB

_TAKES_BLOCKED: Final = "wait, refuse, or use: and the name of a model"


class BlockedRule(msgspec.Struct, frozen=True):
    """What becomes of requests for a model that cannot have room.

    Attributes:
        action: They wait, are refused, or use another model.
        instead: That one, by any of its names.
    """

    action: Literal["wait", "refuse", "use"] = "wait"
    instead: str = ""


def _of_devices(kind: ValueType[Mapping[str, int]]) -> ValueType[Mapping[str, int]]:
    def read(node: Node, place: Place) -> Mapping[str, int]:
        check_devices(node, place)
        return kind.read(node, place)

    return ValueType(kind.takes, kind.schema, read, kind.write, each=kind.each)


def check_devices(node: Node, place: Place) -> None:
    """Note names in a mapping that are no devices."""
    if not isinstance(node.value, dict):
        return
    for name, key, _ in node.items():
        if not _DEVICE.fullmatch(name):
            place.under(name).note(key, f"{name[:60]!r} is no device; write ram, gpu0, gpu1, ...")


AMOUNTS: Final = _of_devices(named(size(0, _MOST), "a mapping of devices to sizes", names=_NAMES))

_BUDGET: Final = section(
    Budget,
    total=Key(
        size(_MIB, _MOST),
        None,
        "What models may use of it, the reserve included.",
        without="what is found",
    ),
    reserve=Key(
        size(0, _MOST),
        None,
        "What stays free of that.",
        without="nothing of a declared total; else of main memory a twentieth (512 MiB to 4 GiB), "
        "of a GPU 512 MiB",
    ),
)


def _devices() -> ValueType[Mapping[str, Budget]]:
    kind = named(_BUDGET.type, "a mapping of devices to budgets", names=_NAMES)

    def read(node: Node, place: Place) -> Mapping[str, Budget]:
        check_devices(node, place)
        return kind.read(node, place)

    return ValueType(kind.takes, kind.schema, read, kind.write, each=kind.each)


DEVICES: Final = _devices()
MEMORY_MODE: Final[ValueType[MemoryMode]] = words("auto", "off")
PIN: Final[ValueType[PinSetting]] = choice({"always": "always", "manual": "manual"}, {"": ""})


def _read_blocked(node: Node, place: Place) -> BlockedRule:
    if isinstance(node.value, dict):
        member = node.member("use")
        if member is None or len(node.value) != 1:
            raise place.wrong(node, _TAKES_BLOCKED)
        instead = read_text(member, place.under("use"), "the name of a model")
        if not instead:
            raise Wrong(place.under("use").problem(member, "write the name of a model"))
        return BlockedRule("use", instead)
    word = place.scalar(node, _TAKES_BLOCKED).text.strip().lower()
    if word == "wait":
        return BlockedRule("wait")
    if word == "refuse":
        return BlockedRule("refuse")
    raise place.wrong(node, _TAKES_BLOCKED)


def _write_blocked(rule: BlockedRule) -> object:
    return {"use": rule.instead} if rule.action == "use" else rule.action


ON_BLOCKED: Final = ValueType(
    _TAKES_BLOCKED,
    {
        "anyOf": [
            *one_of(["wait", "refuse"], (), _TAKES_BLOCKED)["anyOf"],
            fixed({"use": {"type": "string"}}, ["use"]),
        ]
    },
    _read_blocked,
    _write_blocked,
)
