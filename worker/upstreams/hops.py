"""Where a request has been that goes from machine to machine, so that none goes in circles.

Each program of this kind adds itself to a header of what it sends to a peer, and to whom it sends
it. What stands between two of them (nginx, llama-swap) passes that on, as it does with any header
that it does not know.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from arriero.protocol.values import HOPS_FIELD

from ..errors import LoopDetected

# Hops from the client to the model. Two are usual: here, and the machine that has it.
MAX_HOPS: Final = 8

_FIELD: Final = HOPS_FIELD.lower().encode()
_LINE: Final = HOPS_FIELD.encode() + b": %b\r\n"

# The id of a program, and what it calls the peer that it asks next.
_HOP: Final = re.compile(rb"([0-9a-zA-Z]{1,40})>([0-9a-zA-Z._-]{1,40})")
_NOT_IN_NAMES: Final = re.compile(r"[^0-9a-zA-Z._-]")
_MAX_BYTES: Final = MAX_HOPS * 100


class Hop(NamedTuple):
    """One step on the way: which program, and the name of the peer that it asked."""

    instance: bytes
    peer: bytes


def hops_of(own: Iterable[tuple[bytes, bytes]]) -> tuple[Hop, ...]:
    """Return where a request has been, by the fields of its head for this program.

    Raises:
        LoopDetected: In more places than any honest one, or nobody can tell where.
    """
    said = b",".join(value for name, value in own if name == _FIELD)
    if not said:
        return ()
    found = [_HOP.fullmatch(part.strip()) for part in said[: _MAX_BYTES + 1].split(b",")]
    hops = tuple(Hop(hop[1], hop[2]) for hop in found if hop is not None)
    if len(said) > _MAX_BYTES or len(found) > MAX_HOPS:
        raise LoopDetected(
            f"cannot pass this request on: it has been passed on {MAX_HOPS} times already; "
            f"its way was {_way(hops)}. Ask the machine that has the model"
        )
    if len(hops) < len(found):
        raise LoopDetected(f"cannot pass this request on: its {HOPS_FIELD} makes no sense")
    return hops


def check_hops(hops: Iterable[Hop], instance: str) -> None:
    """Refuse a request that has been here before.

    Raises:
        LoopDetected: It has; the message says which way it came.
    """
    hops = tuple(hops)
    ours = instance.encode()
    for number, hop in enumerate(hops):
        if hop.instance == ours:
            raise LoopDetected(
                "cannot pass this request on: it has been here before. It was sent to "
                f"{_way(hops[number:])}, which leads back here: remove the model from the "
                "'peers' of one of them"
            )


def hops_line(hops: Iterable[Hop], instance: str, peer: str) -> bytes:
    """Return the line that tells `peer` where the request has been, and that it comes from here."""
    name = _NOT_IN_NAMES.sub("_", peer)[:40] or "_"
    here = Hop(instance.encode(), name.encode())
    return _LINE % b", ".join(b"%b>%b" % hop for hop in (*hops, here))


def _way(hops: Iterable[Hop]) -> str:
    return ", then to ".join(f"'{hop.peer.decode()}'" for hop in hops)
