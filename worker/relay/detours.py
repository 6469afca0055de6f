"""What is done with a few requests before they go to their model: selectors and filters."""

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from arriero.protocol.lease import Select, Selected

from ..connections.connection import Connection
from ..errors import Unavailable
from ..json.large_body import LARGE_BYTES
from ..json.spans import find_members
from .context import RelayContext
from .model_request import ModelRequest


class ChosenTarget(NamedTuple):
    """The target that a selector has chosen for one request.

    Attributes:
        target: Its name, as the selector has it.
        end: To be called when the request has ended.
    """

    target: str
    end: Callable[[], None]


async def choose(service: RelayContext, selector: str) -> ChosenTarget:
    """Ask the supervisor, which alone knows what runs and for whom, for a target of `selector`.

    While it does not answer, the first target is as good as any.

    Raises:
        Unavailable: All targets are about to end.
    """
    asked: list[int] = []

    def make(ask: int) -> Select:
        asked.append(ask)
        return Select(ask=ask, selector=selector)

    def end() -> None:
        service.say(service.engagements.deselect(asked[0]))

    try:
        selected = await service.queries.ask(make, Selected)
        target = selected.target
        service.engagements.select(asked[0], selector, target)
    except Unavailable:
        known = {one.selector: one for one in service.names.config.selectors}
        target = known[selector].targets[0] if selector in known else ""
    except BaseException:
        end()
        raise
    if not target:
        end()
        raise Unavailable(
            f"cannot choose a model for '{selector}': all of its targets are about to end; "
            "ask again in a moment"
        )
    return ChosenTarget(target, end)


async def filtered(conn: Connection, request: ModelRequest) -> ModelRequest:
    """Return `request` with the changes that the configuration makes in its body.

    Raises:
        BadRequest: One of them cannot be made.
    """
    detour, body = request.detour, request.body
    if detour is None or detour.changes is None or request.upload is not None:
        return request
    if len(body) <= LARGE_BYTES:
        return replace(request, body=detour.changes.apply_at_once(body))
    slices = conn.monitor.fairness
    body = await slices.run(detour.changes.apply(body))
    return replace(request, body=body, members=await slices.run(find_members(body)))
