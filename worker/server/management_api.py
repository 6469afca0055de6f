"""What needs no model: the list of models, health, what runs, what has run, the end of a request.

All in little steps. Nothing here starts a model or waits for one.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec
import trio
from msgspec import Raw
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

import arriero
from arriero.protocol.control.measures import (
    HardwareReply,
    HardwareRequest,
    MetricsReply,
    MetricsRequest,
    PerformanceReply,
    PerformanceRequest,
)
from arriero.protocol.lease import CancelResult
from arriero.protocol.read_json import BadJson, JsonReader
from arriero.protocol.records import Viewer
from arriero.protocol.values import State

from ..apis.base.api import Api
from ..apis.error_response import error_parts
from ..apis.management import declared
from ..apis.management.activity_query import RecordsAsker, unknown_request
from ..apis.management.answers import (
    ActiveProfile,
    DoneMessage,
    EndedRequest,
    PerformanceInfo,
    ProfileEntry,
    ProfileList,
    ProfileName,
    RequestName,
    VersionInfo,
)
from ..apis.management.page_routes import WELCOME, UnloadQuery
from ..apis.management.queries import (
    ActivityQuery,
    CapturesQuery,
    ExportQuery,
    HistoryQuery,
    LogQuery,
    PerformanceQuery,
    RowsQuery,
    StatsQuery,
    UsageQuery,
    read_query,
)
from ..apis.model_names import ModelNames
from ..apis.ollama import api as ollama_routes
from ..apis.ollama.shown import OllamaShowQuery
from ..apis.openapi import described
from ..apis.routes import PLAIN, ROUTES
from ..errors import (
    BadRequest,
    Forbidden,
    FoundElsewhere,
    NotStartedHere,
    RelayError,
    TooLarge,
    Unavailable,
    UnknownModel,
    UnknownPath,
    WrongMethod,
)
from ..feeds.hub import LogPages, WantedLines
from ..http.admission import check_scope
from ..http.auth import Caller
from ..http.cors import Field, answer_fields, preflight_fields
from ..http.request_head import KEY_FIELDS
from ..http.route_declaration import EVENTS, JSON, TEXT, Access, RouteDeclaration
from ..http.tracing import RANDOM_BYTES, start_trace
from ..progress.model_view import ProgressView
from ..relay.context import AsksSupervisor
from ..ui.answering import Handler, json_answer, query_of, streamed, text_answer
from ..ui.routes import add_page, page_answer
from ..ui.shell import TEMPLATES, VIEWS
from . import health as health_page
from .activity_pages import ActivityPages, ExportCount, ExportForm
from .hypercorn_request import MAX_PAGE_BODY_BYTES
from .listings import Listings
from .ollama_pages import OllamaPages
from .unknown_paths import KnownPath, ends_with, find_like, nothing_at, wrong_method

# A place in a declared path.
_PLACE: Final = re.compile(r"\{(\w+)(?:\.\.\.)?\}")

# A mule's head, more or less.
_ICON: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#8a5a2b" '
    b'd="M4 1l2 4h4l2-4 1 6-1 5-2 3H6l-2-3-1-5z"/><circle cx="6" cy="8" r="1"/>'
    b'<circle cx="10" cy="8" r="1"/></svg>'
)


# Records among which those are looked for that a key may see.
_MAX_RECORDS = 1000

# Seconds for the supervisor to answer: metrics of model servers take three at most, a driver that
# hangs ten.
_ASK_S: Final = 15.0

_ALSO_PROMETHEUS: Final = frozenset({"text/plain", "text/*", "*/*"})

# Models that are named to a person.
_MAX_SHOWN = 100

_WELCOME = """\
This is arriero. It stands before servers of language models, and starts the one that a request
names.

For programs, the base URL is this address, or this address and /v1:
  POST /v1/chat/completions   OpenAI's API; also /v1/completions, /v1/responses, /v1/embeddings
  POST /v1/messages           Anthropic's API
  GET  /v1/models             the models, as JSON
  GET  /running               what runs now
  GET  /api/activity          what has run
  GET  /health                OK

The documentation came with the program: README.md and docs/streams.md. On the machine itself,
'arriero status' tells how it stands.

Models:
"""

_END_MESSAGES: dict[CancelResult, str] = {
    "cancelled": "the request ends now; what it has used so far is counted",
    "finished": "the request had ended before",
}


class ManagementContext(Protocol):
    """What the pages are made from, and whom they ask."""

    @property
    def names(self) -> ModelNames:
        """The models of the configuration in force."""

    def caller_of(self, fields: Sequence[Field]) -> Caller:
        """Return who asks, by the fields that may hold a key.

        Raises:
            Unauthorized: He has shown none, or another one.
        """

    def names_for(self, caller: Caller) -> ModelNames:
        """Return those of them that a caller may use."""

    @property
    def view(self) -> ProgressView:
        """How they stand."""

    async def states_there(self) -> Mapping[str, State]:
        """Return how models of peers stand, as `Listings` takes it."""

    @property
    def ask(self) -> AsksSupervisor:
        """Asks the supervisor."""

    async def cancel(self, request_id: str, caller: str, peer: str) -> CancelResult:
        """End a request, in whichever worker it runs.

        Args:
            request_id: Its id.
            caller: Who asks; see `Caller.ident`.
            peer: The address from which it is asked.

        Raises:
            RelayError: Nobody can be asked.
        """

    async def choose_profile(self, profile: str | None) -> None:
        """Choose a profile, for all workers; None for none. Returns once they follow.

        Raises:
            RelayError: There is none of that name, or nobody can be asked.
        """

    async def unload(self, model: str | None, *, at_once: bool = False) -> None:
        """Stop a model, or all; return when they have ended. `at_once` cuts what runs.

        Raises:
            RelayError: Nobody can be asked.
        """

    @property
    def read_logs(self) -> LogPages:
        """Logs and events."""


_request_id = JsonReader(RequestName)
_profile_name = JsonReader(ProfileName)

_show_query = JsonReader(OllamaShowQuery)


class _IdConverter(BaseConverter):
    """An id of a client's choice: it may have slashes, anywhere."""

    regex = ".+"
    part_isolating = False


def make_pages(
    service: ManagementContext, started_at: int, *, is_admin_here: bool = True
) -> QuartTrio:
    """Return the app.

    Args:
        service: What is known of the models and of the requests.
        started_at: Unix time, in whole seconds, that the listing gives as `created`.
        is_admin_here: What needs the scope `admin` is answered.
    """
    app = QuartTrio(__name__, static_folder=None, template_folder=str(TEMPLATES))
    app.config["MAX_CONTENT_LENGTH"] = MAX_PAGE_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.converters["id"] = _IdConverter

    def for_whom(access: Access, handler: Handler) -> Handler:
        """Let a handler answer those only who may have that answer."""

        async def checked(**places: str) -> Response:
            if access != "open":
                g.caller = service.caller_of(_key_fields())
                check_scope(g.caller, access, is_admin_here=is_admin_here)
            return await handler(**places)

        return checked

    def names() -> ModelNames:
        """Return the names that exist for who asks."""
        return service.names_for(g.caller)

    def answers(*declared: RouteDeclaration) -> Callable[[Handler], Handler]:
        """Let a handler answer these; it gets what stands in the places of their paths."""

        def add(handler: Handler) -> Handler:
            for route in declared:
                rule = _PLACE.sub(r"<id:\1>", route.path)
                methods = list(route.methods)
                checked = for_whom(route.access, handler)
                app.add_url_rule(rule, f"{route.methods} {rule}", checked, methods=methods)
            return handler

        return add

    async def listings() -> Listings:
        return Listings(names(), service.view, started_at, await service.states_there())

    @app.before_request
    async def check() -> Response | None:
        fields = _fields()
        g.request_id = start_trace(fields, os.urandom(RANDOM_BYTES)).request_id
        cors = service.names.config.cors
        if request.method == "OPTIONS" and cors is not False:
            return _with_fields(Response(b"", status=204), preflight_fields(fields, cors))
        return None

    @answers(WELCOME)
    async def welcome() -> Response:
        if "text/html" in request.headers.get("accept", "").lower():
            return await page_answer(service, VIEWS[0][0])
        g.caller = service.caller_of(_key_fields())
        listed = [
            next(filter(names().has, (route.model, *route.aliases)))
            for route in names().config.models
            if not route.unlisted
        ]
        return text_answer(_welcome(listed))

    @answers(*declared.HEALTH)
    async def health() -> Response:
        return text_answer(health_page.BODY)

    @answers(declared.ICON)
    async def icon() -> Response:
        response = Response(_ICON, content_type=str(declared.ICON.response))
        response.headers["Cache-Control"] = "max-age=86400"
        return response

    @answers(declared.VERSION)
    async def version() -> Response:
        return json_answer(VersionInfo(arriero=arriero.__version__))

    @answers(declared.DESCRIPTION)
    async def description() -> Response:
        make = partial(described, has_keys=service.names.config.asks_for_keys)
        return Response(await trio.to_thread.run_sync(make), content_type=JSON)  # once, 0.1 s

    @answers(*declared.MODELS)
    async def models() -> Response:
        return json_answer((await listings()).models())

    @answers(*declared.MODEL)
    async def model(name: str) -> Response:
        return json_answer((await listings()).model(name))

    @answers(declared.RUNNING)
    async def running() -> Response:
        return json_answer(Listings(names(), service.view, started_at).running())

    def check_all_models(what: str) -> None:
        """Refuse what cannot be done for some models only."""
        if g.caller.models is not None:
            raise Forbidden(f"cannot {what} with a key that may use some models only")

    @answers(declared.UNLOAD)
    async def unload() -> Response:
        check_all_models("stop all models")
        if request.method != "HEAD":  # which asks what a GET would say, and does nothing
            await service.unload(None)
        return text_answer("OK")

    @answers(declared.UNLOAD_ALL)
    async def unload_all() -> Response:
        check_all_models("stop all models")
        await service.unload(None)
        return json_answer(DoneMessage())

    @answers(declared.UNLOAD_ONE)
    async def unload_one(name: str) -> Response:
        found = names().find_unpinned(name)
        if found.peer is not None:
            raise NotStartedHere(f"cannot stop '{name}': nothing was started for it here")
        if found.detour is not None and found.detour.selector is not None:
            raise NotStartedHere(f"cannot stop '{name}': it is a selector; name one of its models")
        mode = query_of(UnloadQuery).mode
        await service.unload(found.route.model, at_once=mode == "now")
        return text_answer("OK")

    exports_under_way = ExportCount()

    def records() -> ActivityPages:
        """Return what answers about records, for who asks.

        Of some models only: those of these, and his own. What was said is told to him who has said
        it; to others where administrators are answered.
        """
        caller = g.caller
        viewer = None
        if caller.models is not None:
            viewer = Viewer(key=caller.name, models=tuple(sorted(names().ids())))
        sees_all = is_admin_here and "admin" in caller.scopes and caller.models is None
        reader = RecordsAsker(names().id_of, viewer, None if sees_all else caller.ident)
        return ActivityPages(service.ask, exports_under_way, reader)

    @answers(declared.ACTIVITY)
    async def activity() -> Response:
        return json_answer(await records().listed(query_of(ActivityQuery)))

    def exports(form: ExportForm) -> Handler:
        async def export() -> Response:
            pieces = await records().exported(query_of(ExportQuery), form)
            response = Response(pieces, content_type=str(declared.EXPORTS[form].response))
            response.timeout = None  # it has a limit of its own
            response.headers["Content-Disposition"] = f'attachment; filename="activity.{form}"'
            return response

        return export

    answers(declared.EXPORTS["csv"])(exports("csv"))
    answers(declared.EXPORTS["jsonl"])(exports("jsonl"))

    @answers(declared.ONE_ACTIVITY)
    async def one_activity(request_id: str) -> Response:
        return json_answer(await records().one(request_id))

    @answers(declared.HISTORY)
    async def history() -> Response:
        return json_answer(await records().history(query_of(HistoryQuery), time.time()))

    @answers(declared.USAGE)
    async def usage() -> Response:
        return json_answer(await records().usage(query_of(UsageQuery)))

    @answers(declared.METRICS_ACTIVITY)
    async def metrics_activity() -> Response:
        return json_answer(await records().rows(query_of(RowsQuery)))

    @answers(declared.METRICS_STATS)
    async def metrics_stats() -> Response:
        return json_answer(await records().stats(query_of(StatsQuery)))

    @answers(declared.CAPTURES)
    async def captures() -> Response:
        return json_answer(await records().captures(query_of(CapturesQuery)))

    @answers(declared.CAPTURE)
    async def capture(number: str) -> Response:
        return json_answer(await records().capture(number))

    async def end(request_id: str) -> EndedRequest:
        result = await service.cancel(request_id, g.caller.ident, request.remote_addr or "")
        if result == "unknown":
            raise unknown_request(request_id)
        if result == "forbidden":
            raise Forbidden(f"cannot end request '{request_id}': it belongs to another API key")
        return EndedRequest(
            request_id=request_id,
            interrupted=result == "cancelled",
            message=_END_MESSAGES[result],
        )

    @answers(declared.CANCEL)
    async def cancel(request_id: str) -> Response:
        return json_answer(await end(request_id))

    @answers(declared.CANCEL_INFLIGHT)
    async def cancel_inflight(request_id: str) -> Response:
        await end(request_id)
        return json_answer(DoneMessage())

    @answers(declared.INTERRUPT)
    async def interrupt() -> Response:
        try:
            asked = _request_id.read(await request.get_data())
        except BadJson as exc:
            raise BadRequest(f"cannot tell which request is meant: {exc}") from exc
        return json_answer(await end(asked.request_id))

    @answers(declared.METRICS)
    async def metrics() -> Response:
        check_all_models("see metrics, which are of all models,")
        asked = MetricsRequest(
            open_metrics=_wants_open_metrics(request.accept_mimetypes),
            gzip=request.accept_encodings["gzip"] > 0,
        )
        told = await service.ask(asked, MetricsReply, within_s=_ASK_S)
        route = declared.METRICS
        form = route.also[0] if asked.open_metrics else str(route.response)
        response = Response(told.text, content_type=form)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if told.gzip:
            response.headers["Content-Encoding"] = "gzip"
        return response

    @answers(declared.PERFORMANCE)
    async def performance() -> Response:
        # A plus that was not escaped is a blank in a query.
        given = [(name, text.replace(" ", "+")) for name, text in request.args.items(multi=True)]
        asked = PerformanceRequest(after=read_query(PerformanceQuery, given).after)
        told = await service.ask(asked, PerformanceReply, within_s=_ASK_S)
        if told.enabled:
            return json_answer(PerformanceInfo(sys_stats=told.sys_stats, gpu_stats=told.gpu_stats))
        refused = _answer(Unavailable("cannot show samples: performance.disabled is set"))
        if refused.content_type == JSON:
            said = msgspec.json.decode(await refused.get_data(as_text=False), type=dict[str, Raw])
            refused.set_data(msgspec.json.encode({"enabled": False, **said}))
        return refused

    @answers(declared.HARDWARE)
    async def hardware() -> Response:
        told = await service.ask(HardwareRequest(), HardwareReply, within_s=_ASK_S)
        if told.hardware is None:
            raise Unavailable("cannot tell what the machine is: a driver does not answer")
        return json_answer(told.hardware)

    def wanted_lines(name: str | None) -> WantedLines:
        if name in {None, "proxy", "upstream"}:
            check_all_models("see what is written of all models")
        if name is None:
            combined = service.names.config.combined_log
            return WantedLines(
                own=combined in {"proxy", "both"}, output=combined in {"upstream", "both"}
            )
        if name in {"proxy", "upstream"}:
            return WantedLines(own=name == "proxy", output=name == "upstream")
        try:
            found = names().find_unpinned(name)
        except UnknownModel as exc:
            raise BadRequest(f"cannot show a log: {exc.message}") from exc
        if found.peer is not None or (
            found.detour is not None and found.detour.selector is not None
        ):
            raise BadRequest(f"cannot show a log of '{name}': nothing was started for it here")
        return WantedLines(output=True, model=found.route.model)

    @answers(declared.LOGS)
    async def logs() -> Response:
        if "text/html" in request.headers.get("accept", "").lower():
            raise FoundElsewhere(b"/ui/")
        return text_answer(await service.read_logs.text(wanted_lines(None)))

    async def log_stream(name: str | None) -> Response:
        asked = read_query(LogQuery, request.args.items(multi=True))
        wanted = wanted_lines(name)
        past = asked.no_history is None
        return await streamed(TEXT, lambda: service.read_logs.lines(wanted, past=past))

    @answers(declared.LOG_STREAM)
    async def all_logs() -> Response:
        return await log_stream(None)

    @answers(declared.NAMED_LOG_STREAM)
    async def named_logs(name: str) -> Response:
        return await log_stream(name)

    @answers(declared.EVENTS_STREAM)
    async def events() -> Response:
        check_all_models("see events, which are of all models,")
        return await streamed(EVENTS, service.read_logs.events)

    add_page(service, answers, is_admin_here=is_admin_here)

    @answers(declared.UPSTREAM_ROOT)
    async def upstream_root() -> Response:
        raise FoundElsewhere(b"/ui/models")

    @answers(declared.PROFILES)
    async def profiles() -> Response:
        config = names().config
        found = tuple(
            ProfileEntry(id=one.profile, description=one.description, pins=one.pins)
            for one in sorted(config.profiles, key=lambda one: one.profile)
        )
        return json_answer(ProfileList(active=config.profile, profiles=found))

    def ollama() -> OllamaPages:
        return OllamaPages(names(), service.view, started_at)

    @answers(ollama_routes.TAGS)
    async def tags() -> Response:
        return json_answer(ollama().tags())

    @answers(ollama_routes.PS)
    async def ps() -> Response:
        return json_answer(ollama().ps())

    @answers(ollama_routes.SHOW)
    async def show() -> Response:
        try:
            asked = _show_query.read(await request.get_data())
        except BadJson as exc:
            raise BadRequest(f"cannot tell which model is meant: {exc}") from exc
        return json_answer(ollama().show(asked.model or asked.name or ""))

    @answers(declared.CHOOSE_PROFILE)
    async def choose_profile() -> Response:
        try:
            asked = _profile_name.read(await request.get_data())
        except BadJson as exc:
            raise BadRequest(f"cannot tell which profile is meant: {exc}") from exc
        await service.choose_profile(asked.name or None)
        return json_answer(ActiveProfile(active=service.names.config.profile))

    @app.errorhandler(RelayError)
    async def refuse(error: RelayError) -> Response:
        return _answer(error)

    @app.errorhandler(HTTPException)
    async def refuse_http(error: HTTPException) -> Response:
        if error.code == 405:
            allowed = set(getattr(error, "valid_methods", None) or ())
            return _wrong_method(allowed | ROUTES.methods_at(request.path.encode()))
        if error.code == 404:
            asking = ROUTES.methods_at(request.path.encode())
            if asking and request.method not in asking:  # which comes through the relay door
                return _wrong_method(asking)
            return _not_found()
        if error.code == 413:
            return _answer(
                TooLarge(f"cannot take a body of more than {MAX_PAGE_BODY_BYTES} bytes here")
            )
        response = _answer(RelayError(error.description or error.name))
        response.status_code = error.code or 500
        return response

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        app.logger.exception("page.failed error=%s", type(error).__name__)
        return _answer(RelayError("cannot answer: an error in this program"))

    @app.after_request
    async def complete(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        origin = request.headers.get("origin")
        asked_by = None if origin is None else origin.strip().encode("latin-1")
        for field in answer_fields(asked_by, service.names.config.cors):
            if field[0].decode("ascii") not in response.headers:
                _with_fields(response, (field,))
        # The client's next request comes on a new connection, so perhaps through the relay door.
        response.headers["Connection"] = "close"
        return response

    return app


PAGES_THERE: Final = [
    KnownPath(method, route.path)
    for route in declared.PAGES
    if route.is_exact
    for method in route.methods
]
"""What is there besides the routes of models."""


def _fields() -> list[Field]:
    """Return the fields of the request, with lower-case names."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers
    ]


def _key_fields() -> list[Field]:
    return [field for field in _fields() if field[0] in KEY_FIELDS]


def _wants_open_metrics(accepted: MIMEAccept) -> bool:
    """Return whether OpenMetrics is wanted at least as much as Prometheus's own form."""
    wanted = dict.fromkeys((True, False), 0.0)
    for value, quality in accepted:
        kind = value.partition(";")[0].strip().lower()
        is_open = kind == "application/openmetrics-text"
        if is_open or kind in _ALSO_PROMETHEUS:
            wanted[is_open] = max(wanted[is_open], quality)
    return wanted[True] > 0 and wanted[True] >= wanted[False]


def _wrong_method(allowed: Iterable[str]) -> Response:
    names = sorted(allowed)
    response = _answer(WrongMethod(wrong_method(request.method, request.path, names)))
    response.headers["Allow"] = ", ".join(names)
    return response


def _not_found() -> Response:
    pages = PAGES_THERE
    error = UnknownPath(nothing_at(request.method, request.path, pages))
    # A client of Anthropic's with a wrong base URL reads Anthropic's errors.
    path = request.path
    meant = find_like(request.method, path, pages)
    api = ROUTES.api_of_errors(path.encode())
    if api is PLAIN and meant is not None and ends_with(path, meant):
        api = ROUTES.api_of_errors(meant.path.encode())
    return _answer(error, api)


def _welcome(models: Sequence[str]) -> str:
    shown = "".join(f"  {name}\n" for name in models[:_MAX_SHOWN])
    if len(models) > _MAX_SHOWN:
        shown += f"  and {len(models) - _MAX_SHOWN} more: GET /v1/models\n"
    return _WELCOME + (shown or "  none: the configuration has no models to show\n")


def _with_fields(response: Response, fields: tuple[Field, ...]) -> Response:
    for name, value in fields:
        response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return response


def _answer(error: RelayError, api: Api | None = None) -> Response:
    accept = request.headers.get("accept", "").encode("latin-1", "replace")
    api = api or ROUTES.api_of_errors(request.path.encode())
    fields, body = error_parts(error, api, accept)
    return _with_fields(Response(body, status=error.status), fields)
