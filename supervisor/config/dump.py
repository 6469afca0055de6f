"""A configuration -> YAML text that loads to an equal one."""

from .routing import GROUPS, MATRIX, MatrixKeys, Routing
from .values import CONFIG, Config
from .yaml.write import write_yaml


def dump(config: Config) -> str:
    """Return `config` as YAML text, for which `parse_config(dump(config)) == config`.

    It holds what was found out, not what was written: no macros are left but ``${PORT}``,
    ``${API_KEY}`` and ``${PID}``, and what a model has from the top level stands in the model. It
    holds the secrets, too: it is for the one who owns the configuration, and not for a log.

    A configuration that uses anchors or macros to say a few megabytes many times over gives a text
    that is larger than what is read.
    """
    return write_yaml({**CONFIG.write(config), "routing": _routing(config.routing)})


def _routing(routing: Routing) -> dict[str, object]:
    settings: dict[str, object] = {}
    if routing.groups:
        settings["groups"] = GROUPS.write(routing.groups)
    if (matrix := routing.matrix) is not None:
        written = MatrixKeys(
            variables=matrix.variables, evict_costs=matrix.evict_costs, sets=matrix.sets
        )
        settings["matrix"] = MATRIX.write(written)
    return {
        "scheduler": {"use": "fifo", "settings": {"fifo": {"priority": dict(routing.priority)}}},
        "router": {"use": routing.router, "settings": settings},
    }
