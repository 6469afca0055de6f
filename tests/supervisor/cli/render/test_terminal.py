"""What is drawn on a terminal."""

from io import StringIO

import pytest
from rich.console import Console

from arriero.protocol.events import StateChanged
from arriero.supervisor.cli.render.terminal import live_bars


@pytest.mark.parametrize(("environ", "looks_full"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_without_colours_a_bar_of_which_nothing_is_known_does_not_look_complete(
    environ: dict[str, str], looks_full: bool
) -> None:
    written = StringIO()
    given = {"TERM": "xterm-256color", **environ}
    console = Console(file=written, force_terminal=True, width=100, _environ=given)

    with live_bars(keep=True, console=console) as bars:
        bars.show(StateChanged(model="b", state="starting", swap=1), None)

    assert (written.getvalue().count("━") >= 30) is looks_full
    assert looks_full or "━" not in written.getvalue()
