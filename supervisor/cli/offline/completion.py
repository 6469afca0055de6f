"""The command `completion`: what a shell reads to complete command lines of arriero."""

import os
from pathlib import PurePath
from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class

from ..completing import BashCompletion

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    epilog="""\b
Example:  arriero completion bash > ~/.local/share/bash-completion/completions/arriero
          (after mkdir -p ~/.local/share/bash-completion/completions)
zsh:      arriero completion zsh > ~/.zfunc/_arriero
          (with fpath+=~/.zfunc before compinit in ~/.zshrc)
fish:     arriero completion fish > ~/.config/fish/completions/arriero.fish
"""
)
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print what SHELL (default: yours) reads to complete commands, options and models.

    Names of models are those of the running supervisor.
    """
    if shell is None:
        shell = PurePath(os.environ.get("SHELL", "")).name
        if shell not in _SHELLS:
            raise click.UsageError(f"say for which shell: {', '.join(_SHELLS)}")
    found: type[ShellComplete] | None = (
        BashCompletion if shell == "bash" else get_completion_class(shell)
    )
    assert found is not None
    program = ctx.find_root()
    click.echo(found(program.command, {}, "arriero", "_ARRIERO_COMPLETE").source(), nl=False)
