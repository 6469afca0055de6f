"""Answers the routes of the page."""

from typing import Final, Protocol

from quart import Response, g, render_template, request

import arriero
from arriero.protocol.control.base import Done
from arriero.protocol.control.models import (
    ExplainReply,
    ExplainRequest,
    HoldReply,
    HoldRequest,
    PinRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
)
from arriero.protocol.control.settings import ConfigReply, ConfigRequest, ReloadReply, ReloadRequest
from arriero.protocol.read_json import BadJson, JsonReader

from ..apis.management import page_routes as declared
from ..apis.management.answers import DoneMessage
from ..apis.management.page_routes import (
    HeldDevices,
    HoldOrder,
    LiveQuery,
    LoadStarted,
    ReloadQuery,
    WhoAmI,
)
from ..apis.model_names import ModelNames
from ..errors import BadRequest, Forbidden, MovedForNow, NotStartedHere, UnknownPath
from ..feeds.hub import LogPages
from ..feeds.live_state import read_position
from ..http.auth import Caller
from ..http.route_declaration import EVENTS, HTML
from ..progress.model_view import ProgressView
from ..relay.context import AsksSupervisor
from .answering import AddsRoute, json_answer, query_of, streamed
from .assets import ASSETS
from .shell import FIELDS, shell_parts, view_of

# Seconds for the supervisor to answer: it only looks, or begins.
_ASK_S: Final = 15.0

# The same where it reads the configuration, perhaps of ten thousand models, or tells all workers.
_READ_S: Final = 45.0

_hold_order = JsonReader(HoldOrder)


class PageContext(Protocol):
    """What the page is made from, and whom it asks."""

    @property
    def names(self) -> ModelNames:
        """The models of the configuration in force."""

    def names_for(self, caller: Caller) -> ModelNames:
        """Return those of them that a caller may use."""

    @property
    def view(self) -> ProgressView:
        """How they stand."""

    @property
    def ask(self) -> AsksSupervisor:
        """Asks the supervisor."""

    @property
    def read_logs(self) -> LogPages:
        """Logs and events."""


async def page_answer(service: PageContext, view: str) -> Response:
    """Return the page, at one of its views."""
    config = service.names.config
    listed = None if config.asks_for_keys else service.names
    page = await render_template("page.html", **shell_parts(view, listed, service.view))
    return Response(page, content_type=HTML, headers=FIELDS)


def add_page(service: PageContext, answers: AddsRoute, *, is_admin_here: bool) -> None:
    """Have the routes of the page answered; but for ``/``, which is not for browsers only.

    Args:
        service: What is known of models.
        answers: Lets a handler answer.
        is_admin_here: What needs the scope `admin` is answered.
    """

    def started_here(name: str) -> str:
        """Return the id of a model that is started here.

        Raises:
            UnknownModel: There is none of that name for who asks.
            NotStartedHere: It is something else.
        """
        found = service.names_for(g.caller).find_unpinned(name)
        if found.peer is not None or found.route.remote is not None:
            raise NotStartedHere(f"cannot do this with '{name}': nothing is started for it here")
        if found.detour is not None and found.detour.selector is not None:
            raise NotStartedHere(
                f"cannot do this with '{name}': it is a selector; name one of its models"
            )
        return found.route.model

    @answers(declared.UI)
    async def ui() -> Response:
        raise MovedForNow(b"/ui/")

    @answers(*declared.UI_PAGES)
    async def ui_page(path: str = "") -> Response:
        view = view_of(path)
        if view is None:
            raise UnknownPath(f"no view {path!a} here; there is /ui/")
        return await page_answer(service, view)

    @answers(declared.STATIC)
    async def static(path: str) -> Response:
        found = ASSETS.find(path, request.headers.get("accept-encoding", ""))
        if found is None:
            raise UnknownPath(f"no file {path!a} here; it may be one of another version")
        return Response(found.body, headers=dict(found.fields))

    @answers(declared.WHOAMI)
    async def whoami() -> Response:
        caller: Caller = g.caller
        scopes = caller.scopes if is_admin_here else caller.scopes - {"admin"}
        return json_answer(
            WhoAmI(
                name=caller.name,
                keys=service.names.config.asks_for_keys,
                scopes=tuple(sorted(scopes)),
                models=caller.models,
                version=arriero.__version__,
                tree=ASSETS.tree,
            )
        )

    @answers(declared.LIVE)
    async def live() -> Response:
        if g.caller.models is not None:
            raise Forbidden(
                "cannot show how all stands with a key that may use some models only",
                code="all_models_only",
            )
        query = query_of(LiveQuery)
        after = read_position(query.after)
        parts = tuple(filter(None, query.parts.split(",")))
        return await streamed(EVENTS, lambda: service.read_logs.live(after, parts))

    @answers(declared.EXPLAIN)
    async def explain(name: str) -> Response:
        found = service.names_for(g.caller).find_unpinned(name)
        places = None if found.detour is None else found.detour.places
        is_peers = found.peer is not None and found.route.remote is None
        model = places or (found.route.model if is_peers else started_here(name))
        asked = ExplainRequest(model=model)
        return json_answer(await service.ask(asked, ExplainReply, within_s=_ASK_S))

    @answers(declared.LOAD)
    async def load(name: str) -> Response:
        asked = SwapRequest(model=started_here(name), wait=False)
        told = await service.ask(asked, SwapReply, within_s=_ASK_S)
        return json_answer(LoadStarted(model=told.model, state=told.state))

    @answers(declared.CONFIG)
    async def config() -> Response:
        return json_answer(await service.ask(ConfigRequest(), ConfigReply, within_s=_READ_S))

    @answers(declared.RELOAD)
    async def reload() -> Response:
        asked = ReloadRequest(drain=query_of(ReloadQuery).drain == "true")
        return json_answer(await service.ask(asked, ReloadReply, within_s=_READ_S))

    async def pinned(name: str, *, is_pinned: bool) -> Response:
        asked = PinRequest(model=started_here(name), pinned=is_pinned)
        await service.ask(asked, Done, within_s=_ASK_S)
        return json_answer(DoneMessage())

    @answers(declared.PIN)
    async def pin(name: str) -> Response:
        return await pinned(name, is_pinned=True)

    @answers(declared.UNPIN)
    async def unpin(name: str) -> Response:
        return await pinned(name, is_pinned=False)

    async def order() -> HoldOrder:
        data = await request.get_data()
        try:
            return _hold_order.read(data)
        except BadJson as exc:
            raise BadRequest(f"cannot tell which device is meant: {exc}") from exc

    @answers(declared.HOLD)
    async def hold() -> Response:
        asked = await order()
        wanted = HoldRequest(device=asked.device, for_s=asked.for_s, wait=False)
        told = await service.ask(wanted, HoldReply, within_s=_ASK_S)
        return json_answer(HeldDevices(devices=told.devices))

    @answers(declared.RELEASE)
    async def release() -> Response:
        wanted = ReleaseRequest(device=(await order()).device)
        told = await service.ask(wanted, HoldReply, within_s=_ASK_S)
        return json_answer(HeldDevices(devices=told.devices))
