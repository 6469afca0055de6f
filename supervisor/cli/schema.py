"""The command `schema`: the JSON schema of a configuration, for editors."""

import click

from ..config.document import schema_text


@click.command(
    epilog="""\b
Example:  arriero schema > config.schema.json
An editor with the YAML language server then completes, explains and checks
the keys of a configuration that begins with this line:
# yaml-language-server: $schema=config.schema.json
"""
)
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    click.echo(schema_text(), nl=False)
