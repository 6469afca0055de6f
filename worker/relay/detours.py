"""What is done with some requests on their way: selectors, filters, rules, other models."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from arriero.protocol.lease import Select, Selected

from ..connections.connection import Connection
from ..errors import Unavailable
from ..http.request_head import RequestHead
from ..json.large_body import LARGE_BYTES
from ..json.rules import Asked, BodyRules, apply_rules
from ..json.spans import Steps, find_members, finish
from .context import RelayContext
from .exchange import Exchange
from .model_request import ModelRequest, led_to


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


def changes_of(request: ModelRequest, rules: BodyRules | None) -> Steps[bytes]:
    """Return the body of `request` with the changes that the configuration makes in it.

    Filters of its model go first, rules after that.

    Raises:
        BadRequest: One of them cannot be made.
    """
    body, detour = request.body, request.detour
    if detour is not None and detour.changes is not None:
        body = yield from detour.changes.apply(body)
    if rules is not None:
        names = request.asked, request.route.model
        head = request.head
        asked = Asked(names, head.path.decode("latin-1"), partial(_fields, head))
        body = yield from apply_rules(rules.for_request(asked), body)
    return body


async def changed(conn: Connection, request: ModelRequest, rules: BodyRules | None) -> ModelRequest:
    """Return `request` with its body changed as the configuration says.

    Raises:
        BadRequest: One of the changes cannot be made.
    """
    if request.upload is not None or request.is_verbatim:
        return request
    if len(request.body) <= LARGE_BYTES:
        body = finish(changes_of(request, rules))
        return request if body is request.body else replace(request, body=body)
    slices = conn.monitor.fairness
    body = await slices.run(changes_of(request, rules))
    if body is request.body:
        return request
    return replace(request, body=body, members=await slices.run(find_members(body)))


async def led_elsewhere(service: RelayContext, exchange: Exchange, model: str) -> ModelRequest:
    """Lead a request to `model`, which serves in the place of the one that it asks for.

    From there on it is the request that it would have been with the name of that model: nothing of
    what the configuration says of the other one is left in it.

    Raises:
        UnknownModel: The configuration does not have it any more.
        BadRequest: One of its filters cannot be applied.
    """
    original, names = exchange.original, service.names
    request = led_to(original, names.find_chosen(model), exchange.account)
    has_changes = request.detour is not None or names.rules is not None
    if has_changes and not request.asks_nothing:
        renamed = replace(request, asked=model)  # some rules are for names
        request = replace(
            await changed(exchange.writer.conn, renamed, names.rules), asked=original.asked
        )
    exchange.request = exchange.writer.request = request
    return request


def _fields(head: RequestHead) -> Iterator[tuple[str, str]]:
    """Give the fields of a head; not those that say who asks."""
    for name, value in (*head.fields(), *head.own):
        yield name.decode("latin-1"), value.decode("latin-1")
