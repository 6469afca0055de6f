"""`arriero ask`: one question, one answer."""

import os
from pathlib import Path
from typing import Final

import click

from ..completing import model_names
from ..output import note, write_json
from .attachments import content_of, read_text
from .display import display_for
from .server import find_server, server_options
from .talk import ChatMessage, TalkTurn, talk

_STDIN: Final = 0


@click.command(
    epilog="Example:  arriero ask qwen 'Who drives a train of llamas?'\n\n"
    "Example:  git diff | arriero ask qwen 'Write a commit message for this'"
)
@click.argument("model", shell_complete=model_names)
@click.argument("question", nargs=-1)
@click.option("--system", metavar="TEXT", help="Instructions for the model.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Ask about an image, if the model takes them; may be given more than once.",
)
@click.option("--thinking/--no-thinking", help="Write the model's reasoning to stderr, or not.")
@click.option("--json", "as_json", is_flag=True, help="Write the answer as one JSON object.")
@server_options
def ask(
    model: str,
    question: tuple[str, ...],
    *,
    system: str | None,
    max_tokens: int | None,
    images: tuple[Path, ...],
    thinking: bool,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Ask MODEL, and write its answer.

    What comes on standard input is attached to the question. Standard output gets the answer alone;
    on a terminal, standard error shows how far the model is.
    """
    content = content_of(" ".join(question), "" if os.isatty(_STDIN) else read_text(_STDIN), images)
    messages = [ChatMessage("user", content)]
    if system is not None:
        messages.insert(0, ChatMessage("system", system))
    turn = TalkTurn(model)
    display = display_for(thinking=thinking, answers=not as_json)
    try:
        talk(find_server(url, key), turn, messages, display, max_tokens=max_tokens)
    finally:
        if as_json and turn.finish_reason:
            write_json(turn)
    if turn.finish_reason == "length" and not as_json:
        note(f"the answer was cut at {turn.output_tokens or max_tokens} tokens")
