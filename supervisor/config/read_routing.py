"""Which models run beside which: groups and the matrix, from either place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..memory.policy import ByMemory
from ..placement.matrix import Matrix, MatrixError, compile_matrix
from ..placement.policy import DEFAULT_GROUP, Group, Groups, PlacementPolicy
from .routing import MatrixKeys, MemoryKeys, Routing, RoutingKeys
from .schema.reader import Place
from .yaml.tree import Node


def read_routing(found: RoutingKeys, root: Node, place: Place, names: Mapping[str, str]) -> Routing:
    """Return who runs beside whom; mistakes are noted.

    Args:
        found: What is written in both places.
        root: The top level.
        place: Its place.
        names: Name or alias of each model -> its id.
    """
    where = place.under("routing").under("router")
    settings = _down(root, "routing", "router", "settings")
    old = _Blocks(found.old_groups, found.old_matrix, root, place)
    new = _Blocks(found.groups, found.matrix, settings, where.under("settings"))
    is_new = found.router is not None or any(new.given)
    if any(old.given) and is_new:
        old.note(
            "groups" if old.groups else "matrix",
            "there is routing.router, too; move this to routing.router.settings",
        )
    elif all(old.given):
        old.note("matrix", "there are groups, too, and only one can decide; remove one of them")
    blocks = new if is_new else old
    use = found.router or ("matrix" if old.matrix is not None and not is_new else "group")
    if use == "matrix" and not any(old.given) and _is_missing(settings.member("matrix")):
        where.under("use").note(
            _down(root, "routing", "router", "use"),
            "there is no matrix; write routing.router.settings.matrix, or use: group",
        )
    elif new.matrix is not None and found.router is None:
        message = "nothing is done with it without routing.router.use: matrix"
        new.place.under("matrix").warn(new.key("matrix"), message)
    _check_groups(blocks.groups, blocks, names)
    return Routing(
        router=use,
        groups=blocks.groups,
        matrix=_read_matrix(blocks, frozenset(names.values())),
        priority=_read_priority(found.priority, root, place, names),
    )


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Groups and matrix of the old or of the new place.

    Attributes:
        groups, matrix: What was read.
        node, place: What they stand in.
    """

    groups: tuple[Group, ...]
    matrix: MatrixKeys | None
    node: Node
    place: Place

    @property
    def given(self) -> tuple[bool, bool]:
        """Whether groups are written there, and a matrix."""
        return bool(self.groups), self.matrix is not None

    def key(self, name: str) -> Node:
        """Return the key `name`, which is there."""
        assert isinstance(self.node.value, dict)
        return self.node.value[name][0]

    def note(self, name: str, message: str) -> None:
        """Keep a mistake at the key `name`."""
        self.place.under(name).note(self.key(name), message)


def policy_of(
    routing: Routing, models: Iterable[str], memory: MemoryKeys | None = None
) -> PlacementPolicy:
    """Return what decides which models run beside which."""
    if memory is None or not memory.decides:
        return _written_policy(routing, models)
    is_written = routing.groups or (routing.router == "matrix" and routing.matrix is not None)
    inner = _written_policy(routing, models) if is_written else None
    return ByMemory(budgets=memory.devices, finds=memory.mode == "auto", inner=inner)


def _written_policy(routing: Routing, models: Iterable[str]) -> PlacementPolicy:
    if routing.router == "matrix" and routing.matrix is not None:
        return routing.matrix
    return Groups(routing.groups, models)


def _is_missing(node: Node | None) -> bool:
    return node is None or node.value is None


def _down(node: Node, *names: str) -> Node:
    """Return the node under `names`, or the last one that there is on the way."""
    for name in names:
        found = node.member(name)
        if found is None:
            break
        node = found
    return node


def _check_groups(groups: Iterable[Group], blocks: _Blocks, names: Mapping[str, str]) -> None:
    owners: dict[str, str] = {}
    for group in groups:
        here = blocks.place.under("groups").under(group.name)
        if group.name == DEFAULT_GROUP:
            message = (
                "this stands for the models that are in no group; nothing else is done with it"
            )
            here.warn(_down(blocks.node, "groups", group.name), message)
        place = here.under("members")
        for member, item in place.items(group.members):
            if member in owners:
                place.note(item, f"{member!r} is in the group {owners[member]!r} already")
                continue
            owners[member] = group.name
            model = names.get(member)
            if model is None:
                place.note(item, f"there is no model {member[:80]!r}{place.hint(member, names)}")
            elif model != member:
                place.note(item, f"{member!r} is an alias; write the model's id, {model!r}")


def _read_matrix(blocks: _Blocks, models: frozenset[str]) -> Matrix | None:
    found, place = blocks.matrix, blocks.place.under("matrix")
    if found is None:
        return None
    node = _down(blocks.node, "matrix")
    written = {"vars": found.variables, "sets": found.sets}
    if not all(_is_whole(node.member(name), members) for name, members in written.items()):
        return None  # what is missing is not unknown: it has a mistake, which was told
    try:
        return compile_matrix(found.variables, found.evict_costs, found.sets, models)
    except MatrixError as exc:
        for problem in exc.problems:
            path = [name for name in (problem.section, problem.name) if name]
            at = place
            for name in path:
                at = at.under(name)
            at.note(_down(node, *path), problem.message)
        return None


def _is_whole(node: Node | None, found: Mapping[str, str]) -> bool:
    """Whether all of `node` could be read."""
    if node is None or node.value is None:
        return True
    return isinstance(node.value, dict) and len(node.value) == len(found)


def _read_priority(
    written: Mapping[str, int], root: Node, place: Place, names: Mapping[str, str]
) -> Mapping[str, int]:
    """Return the priorities by id; llama-swap takes aliases and then does not look at them."""
    path = ("routing", "scheduler", "settings", "fifo", "priority")
    for name in path:
        place = place.under(name)
    node = _down(root, *path)
    priority: dict[str, int] = {}
    for name, value in written.items():
        model = names.get(name)
        spot = node.value[name][0] if isinstance(node.value, dict) else node
        if model is None:
            hint = place.hint(name, names)
            place.under(name).note(spot, f"there is no model {name[:80]!r}{hint}")
        elif model in priority:
            place.under(name).note(spot, f"{model!r} has a priority already, under another name")
        else:
            priority[model] = value
    return MappingProxyType(priority)
