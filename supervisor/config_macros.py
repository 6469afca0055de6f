"""Macros: ``${name}`` in the values of a configuration. Deciding only.

Order matters, as in llama-swap: a macro may use those that were declared before it. ``${PORT}``
and ``${PID}`` stay as they are: a port is chosen anew at every start. ``$${`` stands for a plain
``${``.
"""

import re
from collections.abc import Mapping
from typing import Final

from .yamltree import Node, Scalar, typed

RESERVED: Final = ("PORT", "MODEL_ID", "PID")
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_USE: Final = re.compile(r"\$\$\{|\$\{([^${}]*)\}")
_ENV: Final = re.compile(r"env\.([a-zA-Z_][a-zA-Z0-9_]*)")

Macros = Mapping[str, Scalar]


class MacroError(Exception):
    """A value uses something that there is not. The text says what, and what would do."""


def expand(node: Node, macros: Macros, environ: Mapping[str, str]) -> Scalar:
    """Return the value of a scalar `node` with all macros in it replaced.

    A value that is nothing but ``${name}`` becomes the macro's value with its type; an unquoted
    value with ``${env.NAME}`` in it gets its type after the replacement.

    Raises:
        MacroError: A macro or a variable of the environment is not known.
    """
    value = node.value
    if not isinstance(value, str) or "$" not in value:
        assert not isinstance(value, list | dict)
        return value
    whole = _USE.fullmatch(value)
    if whole is not None and whole[1] in macros:
        return macros[whole[1]]
    from_environment = False

    def replace(match: re.Match[str]) -> str:
        nonlocal from_environment
        name = match[1]
        if name is None:
            return "${"
        if name in ("PORT", "PID"):
            return match[0]
        if name in macros:
            return _text(macros[name])
        if (variable := _ENV.fullmatch(name)) is not None:
            from_environment = True
            return _from(environ, variable[1])
        known = ", ".join(sorted(macros)) or "none is declared"
        raise MacroError(f"unknown macro ${{{name}}}; known are: {known}")

    text = _USE.sub(replace, value)
    return typed(text) if from_environment and node.is_plain else text


def _text(value: Scalar) -> str:
    match value:
        case True | False:
            return str(value).lower()
        case None:
            return ""
        case _:
            return str(value)


def _from(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if value is None:
        raise MacroError(f"the environment has no variable {name}; set it, or write the value")
    if any(char in value for char in "\n\r\0"):
        raise MacroError(f"the environment's variable {name} holds a line end or a zero byte")
    return value
