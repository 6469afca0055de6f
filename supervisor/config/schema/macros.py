"""Macros: ``${name}`` in the values of a configuration.

The rules are llama-swap's, whose files are to work unchanged: macros are walked from the last to
the first, so one may use those that were declared before it, and a model's macro that takes the
place of a global one reaches the global macros that use it. ``${PORT}`` stays as it is, because a
port is chosen anew at every start. New here: ``$${`` stands for a plain ``${``; and ``${API_KEY}``
stays as well, for a key that is made anew, unless a macro of that name is declared.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from ..yaml.tree import Node, Scalar, typed

RESERVED: Final = ("PORT", "MODEL_ID", "PID")

# Filled in at each start as well. Not reserved: files of llama-swap may have such a macro.
PER_START: Final = "API_KEY"
MACRO_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,63}")
_USE: Final = re.compile(r"\$\$\{|\$\{([^${}]*)\}")
_ENV: Final = re.compile(r"env\.([a-zA-Z_][a-zA-Z0-9_]*)")

# What may be meant as a macro. Anything else stays, as in llama-swap: ${X:-1} is a shell's.
_LIKE_A_NAME: Final = re.compile(r"[\w.\s-]*")

# Longest value that macros may make. Linux takes 128 KiB for one argument of a program; a few
# macros that use each other twice would fill the memory otherwise.
MAX_EXPANDED: Final = 256 * 1024

# How many names are listed in a message, and how many are compared with a wrong one.
_LISTED: Final = 12
_COMPARED: Final = 200

_ELSEWHERE: Final = {
    "PORT": "${PORT} has a meaning only in a model whose cmd uses it",
    "PID": "${PID} has a meaning in cmdStop only",
    "MODEL_ID": "${MODEL_ID} has a meaning within a model only",
    PER_START: "${API_KEY} has a meaning in cmd, env, cmdStop and apiKey of a model only",
}


class ScalarValue(NamedTuple):
    """What a scalar says. A tuple, because a frozen dataclass takes thrice the time.

    Attributes:
        text: As text; a name such as ``1.10`` is kept as it was written.
        typed: As a number or a truth value, where it is one; the same text otherwise.
        is_plain: It had no quotes, so what the environment puts into it gets a type.
    """

    text: str
    typed: Scalar
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro.

    Attributes:
        name: Of letters, digits, _ and -.
        value: None if it is wrong, which was told where it is declared.
        use: How it is used: ``${name}``.
    """

    name: str
    value: ScalarValue | None
    use: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "use", f"${{{self.name}}}")

    @classmethod
    def declared(cls, name: str, node: Node) -> "Macro":
        """Return the macro with the value of a scalar `node`: 5.0 is ``5`` within a text."""
        assert not isinstance(node.value, list | dict)
        return cls(name, ScalarValue(as_text(node.value), node.value, node.is_plain))


class MacroError(Exception):
    """A value uses something that there is not. The text says what, and what would do.

    Attributes:
        discreet: The same without a word of the value, which may be a secret.
    """

    def __init__(self, message: str, discreet: str | None = None) -> None:
        super().__init__(message)
        self.discreet = discreet or message


class BrokenMacro(MacroError):
    """A value uses a macro whose own mistake was told already."""


def overlay(outer: tuple[Macro, ...], own: Iterable[Macro]) -> tuple[Macro, ...]:
    """Return `outer` with `own` laid over it: in the place of the same name, or at the end."""
    return tuple({macro.name: macro for macro in (*outer, *own)}.values())


def check_declaration(
    name: str, node: Node, before: Iterable[str], environ: Mapping[str, str]
) -> None:
    """Make sure that a macro uses only what there is.

    Args:
        name: The macro.
        node: Its value, a scalar.
        before: Names that were declared before it, and `PER_START` if nothing declares that.
        environ: The environment.

    Raises:
        MacroError: It uses something else.
    """
    names = set(before) | set(RESERVED)
    for match in _USE.finditer(node.text):
        used = match[1]
        if used is None or used in names or not _LIKE_A_NAME.fullmatch(used):
            continue
        if (variable := _ENV.fullmatch(used)) is not None:
            _from(environ, variable[1])
        elif used == name:
            raise MacroError(f"unknown macro ${{{used}}}: a macro cannot use itself")
        else:
            raise _unknown(used, names, "a macro may use those that are declared before it; ")


def expand(
    node: Node,
    macros: tuple[Macro, ...],
    environ: Mapping[str, str],
    keep: frozenset[str] = frozenset(),
) -> ScalarValue:
    """Return what a scalar `node` says with all macros in it replaced.

    A value that is nothing but ``${name}`` becomes the macro's value with its type; an unquoted
    value with ``${env.NAME}`` in it gets its type after the replacement. What comes from the
    environment is not looked at again: a password may hold ``${``.

    Args:
        node: The scalar.
        macros: In the order of their declaration.
        environ: For ``${env.NAME}``.
        keep: Reserved names that stay as they are.

    Raises:
        BrokenMacro: It uses a macro that is wrong itself.
        MacroError: A macro or a variable of the environment is not known, or it grows too long.
    """
    assert not isinstance(node.value, list | dict)
    value = ScalarValue(node.text, node.value, node.is_plain)
    if not isinstance(value.typed, str) or "$" not in value.text:
        return value
    for macro in reversed(macros):
        if macro.use in value.text and (macro.name not in keep or macro.name == PER_START):
            value = _replaced(value, macro)
    from_environment = False

    def finish(match: re.Match[str]) -> str:
        nonlocal from_environment
        name = match[1]
        if name is None:
            return "${"
        if name in keep or not _LIKE_A_NAME.fullmatch(name):
            return match[0]
        if (variable := _ENV.fullmatch(name)) is not None:
            from_environment = True
            return _from(environ, variable[1])
        if name in _ELSEWHERE:
            raise MacroError(_ELSEWHERE[name])
        raise _unknown(name, {macro.name for macro in macros} | keep)

    if not isinstance(value.typed, str) or "${" not in value.text:
        return value
    text = _USE.sub(finish, value.text)
    return ScalarValue(text, typed(text) if from_environment and value.is_plain else text)


def escaped(text: str, keep: frozenset[str] = frozenset()) -> str:
    """Return `text` so that `expand` makes the same of it, with the reserved names in `keep`."""
    return _brace(keep).sub("$${", text) if "${" in text else text


@cache
def _brace(keep: frozenset[str]) -> re.Pattern[str]:
    kept = "|".join(sorted(keep))
    return re.compile(rf"\$\{{(?!(?:{kept})\}})|(?<=\$)\$\{{" if keep else r"\$\{")


def as_text(value: Scalar) -> str:
    """Return `value` as it stands within a longer text: 5.0 is ``5``, true is ``true``."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return ""
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        case _:
            return str(value)


def _replaced(value: ScalarValue, macro: Macro) -> ScalarValue:
    """Replace every use of `macro` in `value`, once."""
    use = macro.use
    if macro.value is None:
        raise BrokenMacro(f"{use} is wrong itself")
    if value.text == use:
        return macro.value
    put = macro.value.text
    if f"${use}" in value.text:  # $${name} is not a use
        pieces = re.split(rf"(?<!\$){re.escape(use)}", value.text)
    else:
        pieces = value.text.split(use)
    if len(value.text) + (len(pieces) - 1) * len(put) > MAX_EXPANDED:
        raise MacroError(f"grows longer than {MAX_EXPANDED} characters through its macros")
    text = put.join(pieces)
    return ScalarValue(text, text)


def _unknown(name: str, known: Iterable[str], rule: str = "") -> MacroError:
    names = sorted(known)
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    close = difflib.get_close_matches(name[:100], names[:_COMPARED], 1)
    hint = f"; did you mean ${{{close[0]}}}?" if close else ""
    return MacroError(
        f"unknown macro ${{{name[:60]}}}; {rule}known are: {listed or 'none'}{hint}",
        f"it uses an unknown macro; known are: {listed or 'none'}; $${{ stands for a plain ${{",
    )


def _from(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if value is None:
        raise MacroError(f"the environment has no variable {name}; set it, or write the value")
    if any(char in value for char in "\n\r\0"):
        raise MacroError(f"the environment's variable {name} holds a line end or a zero byte")
    return value
