"""Which models run beside which, and who comes first: as written, and as it was understood."""

from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal, TypeAlias, get_args

from ..memory.devices import Budget
from ..placement.matrix import Matrix
from ..placement.policy import Group
from .schema.immutable import immutable
from .schema.memory_types import DEVICES, MEMORY_MODE, MemoryMode
from .schema.model_types import NAME
from .schema.reader import Key
from .schema.sections import key, section
from .schema.types import BOOLEAN, NOTHING, converted, integer, listed, named, text, words

RouterKind: TypeAlias = Literal["group", "matrix"]

_GROUP: Final = section(
    Group,
    named_by="name",
    members=Key(listed(NAME, "models"), (), "Its models, by their ids."),
    swap=Key(BOOLEAN, True, "Only one of them runs at a time."),
    exclusive=Key(BOOLEAN, True, "Starting one of them stops the models of other groups."),
    persistent=Key(BOOLEAN, False, "No other group stops them."),
)
GROUPS: Final = converted(
    named(_GROUP.type, "a mapping of names to groups"),
    lambda groups: tuple(groups.values()),
    lambda groups: {group.name: group for group in groups},
)


@immutable
class MatrixKeys:
    """A matrix as written; its compiler knows where in an expression a mistake is."""

    variables: Mapping[str, str] = key(
        named(NAME, "a mapping of short names to models", names="^[A-Za-z0-9.-]{1,32}$"),
        NOTHING,
        "Short names of models, for the sets.",
        name="vars",
        without="none",
    )
    evict_costs: Mapping[str, int] = key(
        named(integer(1, 2**31), "a mapping of models to numbers"),
        NOTHING,
        "What it costs to stop a model; 1 for the others.",
        name="evict_costs",
        without="none",
    )
    sets: Mapping[str, str] = key(
        named(text("an expression"), "a mapping of names to expressions"),
        NOTHING,
        "Models that may run together: & is and, | is or, +name another set, and brackets.",
        lacking="",
    )


MATRIX: Final = section(MatrixKeys)


@immutable
class Routing:
    """Which models run beside which, and who comes first.

    Attributes:
        router: What decides: groups or the matrix.
        groups: As written; models in none of them are in the group of all others.
        matrix: Compiled; None without one.
        priority: Id of a model -> priority; the higher one gets its turn first.
    """

    router: RouterKind = "group"
    groups: tuple[Group, ...] = ()
    matrix: Matrix | None = None
    priority: Mapping[str, int] = field(default_factory=lambda: NOTHING)


@immutable
class MemoryKeys:
    """Whether memory decides which models run beside which, and how much of it there is."""

    mode: MemoryMode | None = key(
        MEMORY_MODE,
        None,
        "auto: as many models stay loaded as fit into the machine's memory; groups and the matrix, "
        "where written, act on top. off: devices mean nothing.",
        name="memory",
        without="only devices that are written here count, if there are any",
    )
    devices: Mapping[str, Budget] = key(
        DEVICES,
        NOTHING,
        "What models may use of main memory (ram) and of each GPU (gpu0, gpu1, ...: those of "
        "NVIDIA as nvidia-smi counts them, then AMD's and Intel's by their cards).",
        without="what is found counts, with memory: auto",
    )

    @property
    def decides(self) -> bool:
        """Whether memory decides."""
        return self.mode == "auto" or (self.mode is None and bool(self.devices))


MEMORY: Final = section(MemoryKeys)


@immutable
class RoutingKeys:
    """The same as written: groups and matrix have an older place, too."""

    old_groups: tuple[Group, ...] = key(
        GROUPS,
        (),
        "The older place of routing.router.settings.groups.",
        name="groups",
        without="none",
        instead="routing.router.settings.groups",
    )
    old_matrix: MatrixKeys | None = key(
        MATRIX.type,
        None,
        "The older place of routing.router.settings.matrix.",
        name="matrix",
        without="none",
        instead="routing.router.settings.matrix",
    )
    scheduler: Literal["fifo"] = key(
        words("fifo"),
        "fifo",
        "Who gets a turn first; there is one way.",
        name="routing.scheduler.use",
    )
    priority: Mapping[str, int] = key(
        named(integer(-(2**31), 2**31), "a mapping of models to numbers"),
        NOTHING,
        "Models with a higher number get their turn first; 0 for the others.",
        name="routing.scheduler.settings.fifo.priority",
        without="none",
    )
    router: RouterKind | None = key(
        words(*get_args(RouterKind)),
        None,
        "What decides which models run beside which.",
        name="routing.router.use",
        written="group",
    )
    groups: tuple[Group, ...] = key(
        GROUPS,
        (),
        "Which models run beside which, by groups.",
        name="routing.router.settings.groups",
    )
    matrix: MatrixKeys | None = key(
        MATRIX.type,
        None,
        "Which models run beside which, by sets.",
        name="routing.router.settings.matrix",
    )


ROUTING: Final = section(
    RoutingKeys,
    is_folded=True,
    within={
        "routing": "Which models run beside which, and who comes first.",
        "routing.scheduler": "Who gets a turn first.",
        "routing.scheduler.settings": "Settings of each of them.",
        "routing.scheduler.settings.fifo": "First come, first served.",
        "routing.router": "Which models run beside which.",
        "routing.router.settings": "Settings of each of them.",
    },
)
