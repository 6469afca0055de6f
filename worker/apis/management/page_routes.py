"""Routes that the page for people asks, as they are declared."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from arriero.protocol.control.models import ExplainReply
from arriero.protocol.control.settings import ConfigReply, ReloadReply

from ...errors import (
    MemoryNotCounted,
    MovedForNow,
    NotStartedHere,
    Unauthorized,
    UnknownDevice,
    UnknownModel,
    UnknownPath,
)
from ...http.route_declaration import EVENTS, HTML, TEXT, RouteDeclaration
from .answers import DoneMessage, JsonAnswer
from .queries import QueryShape

_GET: Final = ("GET",)


class LiveQuery(QueryShape, frozen=True, kw_only=True):
    """Where to go on, and what to tell.

    Attributes:
        after: The id of the last message that was read; what follows it is told, or all.
        parts: Members of messages that are wanted, with commas between them; without it all are.
    """

    after: Annotated[str, Meta(max_length=100)] = ""
    parts: Annotated[str, Meta(max_length=200)] = ""


class UnloadQuery(QueryShape, frozen=True, kw_only=True):
    """How a model is stopped.

    Attributes:
        mode: Requests that run finish first, or are cut.
    """

    mode: Literal["drain", "now"] = "drain"


class ReloadQuery(QueryShape, frozen=True, kw_only=True):
    """What becomes of models that run with an older command.

    Attributes:
        drain: They end after their requests, and are started anew by the next one.
    """

    drain: Literal["true", "false"] = "false"


class WhoAmI(JsonAnswer, frozen=True, kw_only=True):
    """Who asks, and what he may do here.

    Attributes:
        name: Of the key; empty without one.
        keys: Keys are needed.
        scopes: What may be done; `admin` only where administrators are answered.
        models: Patterns of the models that may be used; None: all.
        version: Of this program.
        tree: Changes with the files of the page.
    """

    name: str
    keys: bool
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    version: str
    tree: str


class LoadStarted(JsonAnswer, frozen=True, kw_only=True):
    """The model is on its way, or there already."""

    model: str
    state: str


class HoldOrder(JsonAnswer, frozen=True, kw_only=True):
    """Which device is to be kept free of models, or let to them again.

    Attributes:
        device: ``ram``, ``gpu0``, ...; None: all.
        for_s: Seconds until it is used again; None: until it is released.
    """

    device: str | None = None
    for_s: Annotated[float, Meta(gt=0, le=30 * 86400)] | None = None


class HeldDevices(JsonAnswer, frozen=True, kw_only=True):
    """The devices that were meant."""

    devices: tuple[str, ...]


def _page(path: str, summary: str) -> RouteDeclaration:
    return RouteDeclaration(
        path=path,
        summary=summary,
        methods=_GET,
        access="open",
        is_visited=True,
        response=HTML,
        errors=(UnknownPath,),
    )


WELCOME: Final = RouteDeclaration(
    path="/",
    summary="The page for people, for browsers; for others what there is, for which a key is "
    "needed.",
    methods=_GET,
    access="open",
    is_visited=True,
    response=TEXT,
    also=(HTML,),
    errors=(Unauthorized,),
)
UI: Final = RouteDeclaration(
    path="/ui",
    summary="Leads to /ui/.",
    methods=_GET,
    access="open",
    is_visited=True,
    response=HTML,
    errors=(MovedForNow,),
)
UI_PAGES: Final = (
    _page("/ui/", "The page for people; it holds nothing that needs a key."),
    _page("/ui/{path...}", "The same, at one of its views."),
)
STATIC: Final = RouteDeclaration(
    path="/ui/static/{path...}",
    summary="Its modules and styles, which may be kept for ever.",
    methods=_GET,
    access="open",
    response="text/javascript; charset=utf-8",
    also=("text/css; charset=utf-8", "image/svg+xml"),
    errors=(UnknownPath,),
)
WHOAMI: Final = RouteDeclaration(
    path="/api/whoami",
    summary="What the key that is shown is good for.",
    methods=_GET,
    access="key",
    response=WhoAmI,
)
LIVE: Final = RouteDeclaration(
    path="/api/live",
    summary="How all stands, then what changes, for the page.",
    methods=_GET,
    access="read",
    response=EVENTS,
    query=LiveQuery,
)
EXPLAIN: Final = RouteDeclaration(
    path="/api/models/explain/{name...}",
    summary="What a request for the model would bring about now.",
    methods=_GET,
    access="read",
    response=ExplainReply,
    errors=(UnknownModel, NotStartedHere),
)
LOAD: Final = RouteDeclaration(
    path="/api/models/load/{name...}",
    summary="Start a model, stopping others if need be; answers at once.",
    response=LoadStarted,
    errors=(UnknownModel, NotStartedHere),
)
CONFIG: Final = RouteDeclaration(
    path="/api/config",
    summary="The files of the configuration without secrets, what is wrong in them, and what a "
    "reload would change; keys of clients, and what they have used today.",
    methods=_GET,
    response=ConfigReply,
)
RELOAD: Final = RouteDeclaration(
    path="/api/config/reload",
    summary="Put the files of the configuration in force; answers when all workers follow.",
    response=ReloadReply,
    query=ReloadQuery,
)
PIN: Final = RouteDeclaration(
    path="/api/models/pin/{name...}",
    summary="Have a model stay while it is loaded, where memory decides.",
    response=DoneMessage,
    errors=(UnknownModel, NotStartedHere, MemoryNotCounted),
)
UNPIN: Final = RouteDeclaration(
    path="/api/models/unpin/{name...}",
    summary="Let it be as the configuration says again.",
    response=DoneMessage,
    errors=(UnknownModel, NotStartedHere, MemoryNotCounted),
)
HOLD: Final = RouteDeclaration(
    path="/api/devices/hold",
    summary="Keep a device free of models; answers at once.",
    request=HoldOrder,
    response=HeldDevices,
    errors=(UnknownDevice,),
)
RELEASE: Final = RouteDeclaration(
    path="/api/devices/release",
    summary="Let models use a device again.",
    request=HoldOrder,
    response=HeldDevices,
    errors=(UnknownDevice,),
)

PAGE_ROUTES: Final[tuple[RouteDeclaration, ...]] = (
    WELCOME,
    UI,
    *UI_PAGES,
    STATIC,
    WHOAMI,
    LIVE,
    EXPLAIN,
    LOAD,
    CONFIG,
    RELOAD,
    PIN,
    UNPIN,
    HOLD,
    RELEASE,
)
"""All of them."""

OPEN_BELOW: Final = b"/ui/"
"""What is read below this needs no key, and links of other sites may lead there."""
