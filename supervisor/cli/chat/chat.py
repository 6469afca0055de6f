"""`arriero chat`: questions and answers, one after the other."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import msgspec

from ...text.did_you_mean import meant_or_there
from ...text.printable import clean
from ..completing import model_names as completed_names
from ..find_sockets import CommandFailed
from ..output import note
from .display import display_for
from .server import AskedServer, find_server, server_options
from .talk import ChatMessage, TalkTurn, model_names, talk
from .words import WORDS, ChatWord, help_lines, read_word

_PROMPT: Final = "> "
_GOES_ON: Final = ". "


@click.command(epilog="Example:  arriero chat qwen --system 'Answer in one sentence.'")
@click.argument("model", shell_complete=completed_names)
@click.option("--system", metavar="TEXT", help="Instructions for the model.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer.")
@click.option(
    "--thinking/--no-thinking", help="Show the model's reasoning, or only how long it took."
)
@server_options
def chat(
    model: str,
    *,
    system: str | None,
    max_tokens: int | None,
    thinking: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Talk with MODEL.

    Ctrl-C ends an answer, and twice the chat. /help shows what else can be typed.
    """
    server = find_server(url, key)
    names = model_names(server)
    is_typed = sys.stdin.isatty()
    if is_typed:
        _edit_lines(names)
        note(f"{clean(model)} at {server.address.url}; /help shows what can be typed")
    _warn_of(model, names)
    Chat(server, model, system, max_tokens, names, thinking=thinking).run(is_typed=is_typed)


def _warn_of(model: str, names: Sequence[str]) -> None:
    if names and model not in names:
        note(f"{clean(model)!r} is not listed{meant_or_there(model, names)}")


class Chat:
    """A chat under way.

    Args:
        server: Who is asked.
        model: Who answers first.
        system: Instructions; None: none.
        max_tokens: Of each answer; None: as the server has it.
        names: Of models that are known.
        thinking: Reasoning is shown.
    """

    def __init__(
        self,
        server: AskedServer,
        model: str,
        system: str | None,
        max_tokens: int | None,
        names: Sequence[str],
        *,
        thinking: bool,
    ) -> None:
        self._server = server
        self._model = model
        self._system = system
        self._max_tokens = max_tokens
        self._names = names
        self._thinking = thinking
        self._said: list[ChatMessage] = []

    def run(self, *, is_typed: bool) -> None:
        """Talk until the input ends.

        Args:
            is_typed: Somebody sits there: mistakes end nothing, and there is a prompt.

        Raises:
            CommandFailed: A question from a file failed.
            KeyboardInterrupt: Ctrl-C with nothing to end.
        """
        was_interrupted = False
        while True:
            try:
                line = _read_line(is_typed=is_typed)
            except KeyboardInterrupt:
                click.echo(err=True)
                if was_interrupted or not is_typed:
                    raise
                was_interrupted = True
                note("Ctrl-C once more ends the chat")
                continue
            if line is None:
                if is_typed:
                    click.echo(err=True)
                return
            try:
                if not self._take(line):
                    return
                was_interrupted = False
            except KeyboardInterrupt:
                if not is_typed:
                    raise
                was_interrupted = True
                note("ended; Ctrl-C once more ends the chat")
            except CommandFailed as exc:
                if not is_typed:
                    raise
                note(str(exc))

    def _take(self, line: str) -> bool:
        """Do what a line says; False: it ends the chat."""
        word = read_word(line)
        if isinstance(word, ChatWord):
            return self._obey(word)
        if isinstance(word, str):
            note(word)
        elif line.strip():
            self._ask(line.strip())
        return True

    def _ask(self, question: str) -> None:
        asked = ChatMessage("user", question)
        instructions = [] if self._system is None else [ChatMessage("system", self._system)]
        turn = TalkTurn(self._model)
        display = display_for(thinking=self._thinking)
        try:
            talk(
                self._server,
                turn,
                [*instructions, *self._said, asked],
                display,
                max_tokens=self._max_tokens,
            )
        finally:
            if turn.content:  # what was cut off was said as well
                self._said += [asked, ChatMessage("assistant", turn.content)]

    def _obey(self, word: ChatWord) -> bool:
        match word:
            case ChatWord(name="help"):
                for line in help_lines():
                    click.echo(line, err=True)
            case ChatWord(name="clear"):
                self._said.clear()
            case ChatWord(name="model", rest=""):
                for name in self._names or [self._model]:
                    click.echo(f"{'*' if name == self._model else ' '} {clean(name)}", err=True)
            case ChatWord(name="model", rest=name):
                _warn_of(name, self._names)
                self._model = name
            case ChatWord(name="system", rest=text):
                self._system = text or None
            case ChatWord(name="thinking"):
                self._thinking = not self._thinking
                note(f"reasoning is {'shown' if self._thinking else 'not shown'}")
            case ChatWord(name="save", rest=file):
                self._save(Path(file).expanduser())
            case _:
                return False
        return True

    def _save(self, file: Path) -> None:
        messages = list(self._said)
        if not messages:
            note("nothing was said yet")
            return
        if self._system is not None:
            messages.insert(0, ChatMessage("system", self._system))
        if file.suffix.lower() == ".json":
            text = msgspec.json.format(msgspec.json.encode(messages)).decode() + "\n"
        else:
            text = "\n".join(f"## {one.role}\n\n{one.content}\n" for one in messages)
        try:
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
        except OSError as exc:
            note(f"cannot write {file}: {exc.strerror or exc}")
        else:
            note(f"{len(messages)} messages are in {file}")


def _read_line(*, is_typed: bool) -> str | None:
    """Return what was typed up to a line end that is none; None at the end of the input."""
    parts: list[str] = []
    while True:
        try:
            line = input((_GOES_ON if parts else _PROMPT) if is_typed else "")
        except EOFError:
            return "\n".join(parts) or None
        line = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if not line.endswith("\\"):
            return "\n".join([*parts, line])
        parts.append(line[:-1])


def _edit_lines(names: Sequence[str]) -> None:
    """Let lines be edited and come back; Tab completes words of the chat and names of models."""
    try:
        import readline
    except ImportError:
        return  # a Python without it: lines are read as the terminal gives them

    def complete(text: str, number: int) -> str | None:
        line = readline.get_line_buffer()
        known = names if line.startswith("/model ") else [f"/{word}" for word in WORDS]
        fitting = [name for name in known if line.startswith("/") and name.startswith(text)]
        return fitting[number] if number < len(fitting) else None

    with suppress(AttributeError):
        readline.set_completer(complete)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")
