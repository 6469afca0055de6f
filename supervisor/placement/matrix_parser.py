"""The language of sets of models: text -> tree.

    expression = product { "|" product }       either one
    product    = operand { "&" operand }       together
    operand    = name | "+" name | "(" expression ")"

A name is of letters, digits, ``_``, ``-`` and ``.``; ``+name`` stands for another set. The reader
goes through the text once and keeps the open brackets on a list of its own, so that no text is deep
enough to break it.

Source of the rules: llama-swap, whose files are to work unchanged.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

# An expression with a name of ten letters for each of 15,000 models is shorter than that, and is
# read in a fraction of a second.
MAX_CHARACTERS: Final = 200_000
# No reader sees through more brackets than that.
MAX_BRACKETS: Final = 100


class Token(msgspec.Struct, frozen=True):
    """One word of an expression.

    Attributes:
        kind: A name, the name of a set, or the sign itself.
        text: The name; without the ``+``.
        column: Of its first character in the expression, from 1, over all lines.
    """

    kind: Literal["name", "set", "&", "|", "(", ")"]
    text: str
    column: int


class SyntaxMistake(msgspec.Struct, frozen=True):
    """A mistake at `column`: the text there, and the remedy."""

    column: int
    message: str


class Name(msgspec.Struct, frozen=True):
    """A model, by its id or by its short name."""

    text: str


class SetName(msgspec.Struct, frozen=True):
    """Another set."""

    text: str


class Together(msgspec.Struct, frozen=True):
    """One choice of each of `parts`, at the same time."""

    parts: tuple["Tree", ...]


class Either(msgspec.Struct, frozen=True):
    """A choice of one of `parts`; the earlier one comes first."""

    parts: tuple["Tree", ...]


Tree: TypeAlias = Name | SetName | Together | Either


class Expression(msgspec.Struct, frozen=True):
    """The result of reading an expression.

    Attributes:
        tree: Its meaning; None if there are mistakes.
        names: The first mention of each name and each set, whether or not there are mistakes.
        mistakes: In order; empty if there are none.
    """

    tree: Tree | None
    names: tuple[Token, ...]
    mistakes: tuple[SyntaxMistake, ...]


def read_expression(text: str) -> Expression:
    """Read `text`. Never fails: its mistakes are in the result."""
    if len(text) > MAX_CHARACTERS:
        found = f"the expression has {len(text):,} characters, and {MAX_CHARACTERS:,} are the most"
        return Expression(None, (), (SyntaxMistake(1, f"{found}; split it into several sets"),))
    tokens, mistakes = tokenize(text)
    tree: Tree | None = None
    if not mistakes:  # or a gap would be reported a second time, as a mistake of grammar
        try:
            tree = _Parser().parse(tokens, len(text) + 1)
        except _Unexpected as exc:
            mistakes = [exc.mistake]
    names = {(token.kind, token.text): token for token in reversed(tokens) if token.text}
    return Expression(
        tree, tuple(sorted(names.values(), key=lambda token: token.column)), tuple(mistakes)
    )


_WORD: Final = re.compile(
    r"(?P<space>\s+)|(?P<name>[\w.-]+)|\+(?P<set>[\w.-]*)|(?P<sign>[&|()])|(?P<other>[^\w.\-\s&|()+]+)"
)


def tokenize(text: str) -> tuple[list[Token], list[SyntaxMistake]]:
    """Return the words of `text`, and the characters that are none."""
    tokens, mistakes = [], []
    for match in _WORD.finditer(text):  # every character is in one of the groups
        column = match.start() + 1
        match match.lastgroup:
            case "name":
                tokens.append(Token("name", match[0], column))
            case "set" if match["set"]:
                tokens.append(Token("set", match["set"], column))
            case "set":
                mistakes.append(
                    SyntaxMistake(
                        column, "there is no name right after '+'; write the name of a set"
                    )
                )
            case "sign":
                tokens.append(_sign(match[0], column))
            case "other":
                mistakes.append(SyntaxMistake(column, _no_word(match[0])))
            case _:
                pass
    return tokens, mistakes


def _sign(sign: str, column: int) -> Token:
    assert sign in {"&", "|", "(", ")"}
    return Token(sign, "", column)  # type: ignore[arg-type] # mypy does not follow the assertion


def _no_word(found: str) -> str:
    if found[0] in "/:":
        would_do = "a model with that in its id needs a short name in vars"
    else:
        would_do = "write & for together, | for either, brackets, and +name for another set"
    return f"found {found[:20]!r}; {would_do}"


class _Unexpected(Exception):
    """The reader cannot go on."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.mistake = SyntaxMistake(column, message)


class _OpenBracket(msgspec.Struct):
    """An open bracket, or the whole expression, as read so far."""

    column: int = 0
    products: list[Tree] = msgspec.field(default_factory=list)
    factors: list[Tree] = msgspec.field(default_factory=list)

    def end_product(self) -> None:
        self.products.append(_joined(Together, self.factors))
        self.factors = []

    def tree(self) -> Tree:
        self.end_product()
        return _joined(Either, self.products)


def _joined(kind: type[Together] | type[Either], parts: list[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


class _Parser:
    """Reads words one by one.

    `_open` has the brackets around the present place.
    """

    def __init__(self) -> None:
        self._open = [_OpenBracket()]

    def parse(self, tokens: list[Token], end: int) -> Tree:
        """Return the meaning of `tokens`, whose text ends before the column `end`."""
        if not tokens:
            raise _Unexpected(1, "the expression is empty; write the names of models")
        before: Token | None = None
        for token in tokens:
            if before is None or before.kind in {"&", "|", "("}:
                self._operand(token, before)
            else:
                self._operator(token, before)
            before = token
        assert before is not None
        if before.kind in {"&", "|", "("}:
            raise _Unexpected(end, f"the expression ends after {_shown(before)}; write a name")
        if len(self._open) > 1:
            column = self._open[-1].column
            raise _Unexpected(column, "this bracket is not closed; write ')' where it ends")
        return self._open[0].tree()

    def _operand(self, token: Token, before: Token | None) -> None:
        match token.kind:
            case "name":
                self._open[-1].factors.append(Name(token.text))
            case "set":
                self._open[-1].factors.append(SetName(token.text))
            case "(" if len(self._open) > MAX_BRACKETS:
                raise _Unexpected(
                    token.column,
                    f"there are more than {MAX_BRACKETS} brackets in one another; "
                    "write a part of them as a set of its own",
                )
            case "(":
                self._open.append(_OpenBracket(token.column))
            case _:
                where = f" after {_shown(before)}" if before is not None else ""
                raise _Unexpected(
                    token.column,
                    f"found {_shown(token)}{where}; write a name, +set, or an opening bracket",
                )

    def _operator(self, token: Token, before: Token) -> None:
        match token.kind:
            case "&":
                pass
            case "|":
                self._open[-1].end_product()
            case ")" if len(self._open) == 1:
                raise _Unexpected(token.column, "found ')' without '('; remove it, or write both")
            case ")":
                tree = self._open.pop().tree()
                self._open[-1].factors.append(tree)
            case _:
                raise _Unexpected(
                    token.column,
                    f"found {_shown(token)} after {_shown(before)}; write & or | between them",
                )


def _shown(token: Token) -> str:
    plus = "+" if token.kind == "set" else ""
    return repr(f"{plus}{token.text[:80]}" if token.text else token.kind)


def walk(tree: Tree) -> Iterator[Tree]:
    """Give `tree` and all its nodes, parts before the whole."""
    waiting: list[tuple[Tree, bool]] = [(tree, False)]
    while waiting:
        node, is_done = waiting.pop()
        if is_done or isinstance(node, Name | SetName):
            yield node
        else:
            waiting.append((node, True))
            waiting.extend((part, False) for part in reversed(node.parts))
