"""Which models run beside which: groups and the matrix, from either place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..placement.matrix import Matrix, MatrixError, compile_matrix
from ..placement.policy import DEFAULT_GROUP, Group, Groups, PlacementPolicy
from .schema.reader import Place
from .values import Routing, frozen
from .yaml.tree import Node


@dataclass(frozen=True, slots=True)
class _Block:
    """Something that stands in the old or in the new place."""

    found: Any
    key: Node
    node: Node
    place: Place


def read_routing(
    found: Mapping[str, Any], root: Node, place: Place, names: Mapping[str, str]
) -> Routing:
    """Return who runs beside whom; mistakes are noted.

    Args:
        found: The top-level keys.
        root: Where they stand.
        place: Its place.
        names: Name or alias of each model -> its id.
    """
    router_keys = found["routing"]["router"]
    settings = router_keys["settings"]
    where = place.under("routing").under("router")
    old = [_block(found[name], root, place, name) for name in _NAMES]
    new_root = _down(root, "routing", "router", "settings")
    new = [_block(settings[name], new_root, where.under("settings"), name) for name in _NAMES]
    is_new = router_keys["use"] is not None or any(block is not None for block in new)
    given = [block for block in old if block is not None]
    if given and is_new:
        message = "there is routing.router, too; move this to routing.router.settings"
        given[0].place.note(given[0].key, message)
    elif len(given) == 2:
        message = "there are groups, too, and only one can decide; remove one of them"
        given[1].place.note(given[1].key, message)
    groups, matrix = new if is_new else old
    use = router_keys["use"] or ("matrix" if matrix is not None and not is_new else "group")
    router: Literal["group", "matrix"] = "matrix" if use == "matrix" else "group"
    if router == "matrix" and not given and _is_missing(new_root.member("matrix")):
        where.under("use").note(
            _down(root, "routing", "router", "use"),
            "there is no matrix; write routing.router.settings.matrix, or use: group",
        )
    elif is_new and matrix is not None and router_keys["use"] is None:
        matrix.place.warn(matrix.key, "nothing is done with it without routing.router.use: matrix")
    models = sorted(set(names.values()))
    return Routing(
        router=router,
        groups=() if groups is None else _read_groups(groups, names),
        matrix=None if matrix is None else _read_matrix(matrix, models),
        priority=_read_priority(found, root, place, names),
    )


_NAMES = ("groups", "matrix")


def policy_of(routing: Routing, models: Iterable[str]) -> PlacementPolicy:
    """Return what decides which models run beside which."""
    if routing.router == "matrix" and routing.matrix is not None:
        return routing.matrix
    return Groups(routing.groups, models)


def _block(found: object, root: Node, place: Place, name: str) -> _Block | None:
    if found is None or found == {} or not isinstance(root.value, dict):
        return None
    return _Block(found, *root.value[name], place.under(name))


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


def _read_groups(block: _Block, names: Mapping[str, str]) -> tuple[Group, ...]:
    owners: dict[str, str] = {}
    groups = []
    for name, keys in block.found.items():
        if name == DEFAULT_GROUP:
            message = (
                "this stands for the models that are in no group; nothing else is done with it"
            )
            block.place.under(name).warn(_down(block.node, name), message)
        place = block.place.under(name).under("members")
        members = []
        for member, item in keys["members"]:
            if member in owners:
                place.note(item, f"{member!r} is in the group {owners[member]!r} already")
                continue
            owners[member] = name
            model = names.get(member)
            if model == member:
                members.append(member)
            elif model is not None:
                place.note(item, f"{member!r} is an alias; write the model's id, {model!r}")
            else:
                place.note(item, f"there is no model {member[:80]!r}{place.hint(member, names)}")
        groups.append(
            Group(
                name=name,
                members=tuple(members),
                swap=keys["swap"],
                exclusive=keys["exclusive"],
                persistent=keys["persistent"],
            )
        )
    return tuple(groups)


def _read_matrix(block: _Block, models: Iterable[str]) -> Matrix | None:
    keys = block.found
    if not all(_is_whole(block.node.member(name), keys[name]) for name in ("vars", "sets")):
        return None  # what is missing is not unknown: it has a mistake, which was told
    try:
        return compile_matrix(
            keys["vars"] or {}, keys["evict_costs"] or {}, keys["sets"] or {}, frozenset(models)
        )
    except MatrixError as exc:
        for problem in exc.problems:
            path = [name for name in (problem.section, problem.name) if name]
            place = block.place
            for name in path:
                place = place.under(name)
            place.note(_down(block.node, *path), problem.message)
        return None


def _is_whole(node: Node | None, found: Mapping[str, Any] | None) -> bool:
    """Whether all of `node` could be read."""
    if node is None or node.value is None:
        return True
    return isinstance(node.value, dict) and len(node.value) == len(found or ())


def _read_priority(
    found: Mapping[str, Any], root: Node, place: Place, names: Mapping[str, str]
) -> Mapping[str, int]:
    """Return the priorities by id; llama-swap takes aliases and then does not look at them."""
    path = ("routing", "scheduler", "settings", "fifo", "priority")
    written = found["routing"]["scheduler"]["settings"]["fifo"]["priority"] or {}
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
    return frozen(priority)
