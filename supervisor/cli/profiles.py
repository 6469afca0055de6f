"""The command `profile`: what names mean, one profile at a time."""

import click

from arriero.protocol.control import ProfileRequest, ProfilesReply, ProfilesRequest

from .render.text import profiles_table
from .session import Session, client


@click.command(epilog="Example:  arriero profile coding")
@click.argument("name", required=False)
@click.option("--none", "is_none", is_flag=True, help="Choose none: all names mean themselves.")
@client()
def profile(session: Session, name: str | None, *, is_none: bool) -> None:
    """Choose the profile NAME, or show all profiles.

    It holds for all workers at once, from the next request on; requests that run go on. It stays
    chosen over reloads, and not over a restart.
    """
    if name and is_none:
        raise click.UsageError("NAME and --none exclude each other")
    if name is None and not is_none:
        reply = session.ask(ProfilesRequest(), ProfilesReply)
        session.write_table(reply, profiles_table(reply))
        return
    reply = session.ask(ProfileRequest(profile=name), ProfilesReply)
    session.write(reply, [f"profile: {reply.active or 'none'}"])
