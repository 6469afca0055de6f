"""What is done with some requests on their way: selectors, machines, filters, other models."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from arriero.protocol.lease import Select, Selected

from ..connections.connection import Connection
from ..errors import Unavailable
from ..http.request_head import RequestHead
from ..json.large_body import LARGE_BYTES
from ..json.prompt_prefix import prompt_prefix
from ..json.rules import Asked, BodyRules, apply_rules
from ..json.spans import Steps, find_members, finish
from ..upstreams.hops import hops_of
from .context import RelayContext
from .exchange import Exchange
from .model_request import ModelRequest, led_to

# Machines that one request may fail on: one that ends the server of its model would end the next.
_MOST_TRIED: Final = 4


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


class PlaceSearch:
    """Where a request goes for a model that several machines have; and where next if that fails.

    The supervisor is asked, which knows how the model stands there. Without it the first place that
    was not tried is as good as any: that is the model here, if there is one.

    Args:
        service: Asks the supervisor.
        name: The model; see `WorkerConfig.places`.
        prefix: How its prompt begins; see `Select`.
    """

    def __init__(self, service: RelayContext, name: str, prefix: str) -> None:
        self._service = service
        self._name = name
        self._prefix = prefix
        self._asked: int | None = None
        self._tried: list[str] = []
        self._places: Sequence[str] = service.names.config.places.get(name, ())

    @property
    def has_more(self) -> bool:
        """Whether there may be a place that was not tried."""
        return len(self._tried) < min(len(self._places), _MOST_TRIED)

    async def next(self) -> str:
        """Return the name of the next place, which counts as tried; empty if none is left."""
        self.end()
        name, prefix, tried = self._name, self._prefix, tuple(self._tried)
        asked: list[int] = []

        def make(ask: int) -> Select:
            self._asked = ask
            asked.append(ask)
            return Select(ask=ask, selector=name, is_model=True, prefix=prefix, tried=tried)

        try:
            selected = await self._service.queries.ask(make, Selected)
            target = selected.target
        except Unavailable:
            target = next((place for place in self._places if place not in tried), "")
        if not target:
            self.end()
            return ""
        self._service.engagements.select(asked[0], name, target, is_model=True)
        self._tried.append(target)
        return target

    def end(self) -> None:
        """The request does not run there any more. May be called again."""
        if self._asked is not None:
            self._service.say(self._service.engagements.deselect(self._asked))
            self._asked = None


def find_place(service: RelayContext, request: ModelRequest) -> PlaceSearch | None:
    """Begin to look for a machine, if several have the model of `request`; None if one has it.

    One that another machine has passed on stays here, if the model is here: if each of two had a
    mind of its own, it might go to and fro.
    """
    name = None if request.detour is None else request.detour.places
    if name is None or request.is_verbatim or request.asks_nothing:
        return None
    if request.peer is None and hops_of(request.head.own):
        return None
    return PlaceSearch(service, name, prompt_prefix(request.body, request.members))


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
    """Lead a request to `model`, which serves in the place of the one it was on its way to.

    From there on it is the request that it would have been with the name of that model: nothing of
    what the configuration says of the other one is left in it.

    Raises:
        UnknownModel: The configuration does not have it any more.
        BadRequest: One of its filters cannot be applied.
    """
    original, names = exchange.original, service.names
    request = led_to(original, names.find_place(model), exchange.account)
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
