"""What is surely not meant in a configuration that can be used.

The reader of the configuration finds what is wrong in itself. Here it is held against the machine
(is there such a program, such a file?), its models against each other, and what a command says
against what is said around it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import islice
from typing import Final

from ...errors import Problem
from ...memory.policy import ByMemory
from ...placement.matrix import Matrix
from ...placement.matrix_parser import read_expression
from ...placement.policy import DEFAULT_GROUP
from ...text.addresses import Address
from ..read_routing import policy_of
from ..values import Config
from ..yaml.tree import Node
from .exposure import exposure
from .findings import Findings
from .keys import check_keys
from .models import Disk, check_launcher, check_model, check_remote, fixed_port
from .names import check_macros, check_peers, check_pins

# How many pairs of models on one port are looked at: nobody reads more messages than that.
_MAX_PAIRS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found, by its place.

    Attributes:
        warnings: What is surely not meant.
        notes: What is worth to be known, and may well be meant.
    """

    warnings: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def advise(config: Config, root: Node, disk: Disk) -> Advice:
    """Return what is surely not meant in `config`.

    Args:
        config: What was read.
        root: The tree out of which it was read: it knows where everything stands.
        disk: The machine on which it is to be used.
    """
    found = Findings(root)
    for model in config.remotes.values():
        check_remote(model, config.api_keys, found)
    for model in config.models.values():
        check_model(model, config.api_keys, disk, found)
    if (open_to_all := exposure(config, config.listen.host)) is not None:
        found.warn(("listen",), open_to_all)
    for name, also in (
        ("ollamaListen", config.ollama_listen),
        ("adminListen", config.admin_listen),
    ):
        if isinstance(also, Address) and (told := exposure(config, also.host)) is not None:
            found.warn((name,), told)
    if config.cors is True and not config.asks_for_keys:
        found.note(
            ("cors",),
            "any page of the web may use all models from the browser of whoever looks at it; a "
            "list of origins is safer",
        )
    for launcher in config.launchers.values():
        check_launcher(launcher, disk, found)
    _check_ports(config, found)
    _check_routing(config, found)
    check_peers(config, found)
    check_pins(config, found)
    check_keys(config, found)
    check_macros(root, found)
    _check_pinned(config, found)
    return Advice(tuple(sorted(found.warnings)), tuple(sorted(found.notes)))


def with_findings(config: Config, root: Node, disk: Disk) -> Config:
    """Return `config` with all that its operator should know among its warnings.

    That is what `advise` finds, and the keys on which nothing acts: who only serves does not see
    the notes of ``arriero check``.
    """
    found = advise(config, root, disk).warnings
    return replace(config, warnings=tuple(sorted({*config.warnings, *config.notes, *found})))


def homes(config: Config) -> Mapping[str, str]:
    """Return for each model its group, or the sets of the matrix that name it; empty: in none."""
    routing = config.routing
    if routing.router == "matrix" and routing.matrix is not None:
        sets = _sets_of(routing.matrix)
        return {model: ", ".join(sets.get(model, ())) for model in config.models}
    groups = {
        member: group.name
        for group in routing.groups
        if group.name != DEFAULT_GROUP
        for member in group.members
    }
    return {model: groups.get(model, DEFAULT_GROUP) for model in config.models}


def _check_pinned(config: Config, found: Findings) -> None:
    """Check that models are pinned only where memory decides."""
    if isinstance(policy_of(config.routing, config.models, config.memory), ByMemory):
        return
    for model in config.models.values():
        if model.pin:
            found.warn(
                ("models", model.model, "pin"),
                "it goes for others all the same: only where memory decides is a model pinned; "
                "write memory: auto, or a persistent group",
            )


def _check_ports(config: Config, found: Findings) -> None:
    """Check that no two listen on one port at the same time."""
    first_tried = {model.port: model.model for model in config.models.values()}
    sharing: dict[int, list[str]] = defaultdict(list)
    places = (config.listen, config.ollama_listen, config.admin_listen)
    listened_on = [it for it in places if isinstance(it, Address)]
    for model in config.models.values():
        port = fixed_port(model)
        if port is None:
            continue
        sharing[port].append(model.model)
        where = ("models", model.model, "proxy")
        if any(port == it.port and _is_reached_here(it) for it in listened_on):
            found.warn(where, f"arriero itself listens on port {port}; write another one")
        elif first_tried.get(port, model.model) != model.model:
            found.warn(
                where,
                f"port {port} is the first that is tried for ${{PORT}} of {first_tried[port]!r}; "
                f"write ${{PORT}} here, too, or a port below startPort ({config.start_port})",
            )
    for port, one, other in _clashes(config, sharing):
        found.warn(
            ("models", one, "proxy"),
            f"{other!r} has port {port}, too, and both may run at the same time; "
            "write ${PORT} in cmd and proxy of one of them",
        )


def _is_reached_here(listen: Address) -> bool:
    """Whether who listens there has the port on the addresses of this machine alone, too."""
    try:
        address = ip_address(listen.host or "0.0.0.0")  # noqa: S104 (nobody listens)
    except ValueError:
        return listen.host == "localhost"
    return address.is_unspecified or address.is_loopback


def _clashes(config: Config, sharing: Mapping[int, list[str]]) -> Iterator[tuple[int, str, str]]:
    """Give a port, a model, and the first before it that has the port and may run beside it."""
    room = policy_of(config.routing, config.models, config.memory)
    pairs = (
        (port, model, other)
        for port, models in sharing.items()
        for at, model in enumerate(models)
        for other in models[:at]
    )
    told: set[str] = set()
    for port, model, other in islice(pairs, _MAX_PAIRS):
        if model in told or (room.evicted_by(model, {other}) and room.evicted_by(other, {model})):
            continue
        told.add(model)
        yield port, model, other


def _check_routing(config: Config, found: Findings) -> None:
    """Check that every group and every model has a part in what decides."""
    routing = config.routing
    groups = found.routing("groups")
    if routing.router == "matrix" and routing.matrix is not None:
        if routing.groups:
            found.warn(
                groups,
                "the matrix decides which models run together (routing.router.use), so these "
                "groups mean nothing; remove them",
            )
        sets = _sets_of(routing.matrix)
        for model in config.models:
            if model not in sets:
                found.warn(
                    ("models", model),
                    "the model is in no set of the matrix, so it runs alone; put it into one",
                )
        return
    for group in routing.groups:
        if group.name == DEFAULT_GROUP:
            found.warn(
                (*groups, group.name),
                "this is the name of the group of all models in no other, which takes its place; "
                "choose another name",
            )
        elif not group.members:
            found.warn((*groups, group.name), "the group has no members; add some, or remove it")


def _sets_of(matrix: Matrix) -> Mapping[str, list[str]]:
    """Return for each model the sets that name it."""
    sets: dict[str, list[str]] = {}
    for name, text in matrix.sets.items():
        for token in read_expression(text).names:
            if token.kind == "name":
                model = matrix.variables.get(token.text, token.text)
                sets.setdefault(model, []).append(name)
    return sets
