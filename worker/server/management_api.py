"""What needs no model: the list of models, health, what runs, what has run, the end of a request.

All in little steps. Nothing here starts a model or waits for one.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from arriero.protocol.lease import CancelResult
from arriero.protocol.read_json import BadJson, JsonReader, json_object
from arriero.protocol.records import RequestRecord
from arriero.protocol.values import State
from arriero.protocol.worker_config import SelectorRoute

from ..apis.error_response import error_parts
from ..apis.model_names import ModelNames, Target
from ..apis.routes import PLAIN, ROUTES
from ..errors import (
    BadRequest,
    Forbidden,
    RelayError,
    TooLarge,
    UnknownPath,
    UnknownRequest,
    WrongMethod,
)
from ..http.auth import caller_of
from ..http.cors import Field, answer_fields, preflight_fields
from ..http.tracing import RANDOM_BYTES, start_trace
from ..progress.model_view import ProgressView
from . import health as health_page
from .hypercorn_request import MAX_PAGE_BODY_BYTES
from .unknown_paths import KnownPath, ends_with, find_like, nothing_at, wrong_method

_JSON = "application/json"
_KEY_FIELDS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})


# Accounts that are listed, unless the client says how many, and at most.
_USUAL_RECORDS = 100
_MAX_RECORDS = 1000

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

# Of which of its targets a selector has its state, the first that there is.
_MOST_LOADED: Sequence[State] = ("ready", "draining", "starting", "asleep")

# What the listing says of each state: `draining` still answers.
_LOADED: dict[State, str] = {
    "stopped": "unloaded",
    "starting": "loading",
    "ready": "loaded",
    "draining": "loaded",
    "stopping": "unloaded",
    "asleep": "sleeping",
}


class ManagementContext(Protocol):
    """What the pages are made from, and whom they ask."""

    @property
    def names(self) -> ModelNames:
        """The models of the configuration in force."""

    @property
    def view(self) -> ProgressView:
        """How they stand."""

    async def cancel(self, request_id: str, caller: str, peer: str) -> CancelResult:
        """End a request, in whichever worker it runs.

        Args:
            request_id: Its id.
            caller: Who asks; see `caller_of`.
            peer: The address from which it is asked.

        Raises:
            RelayError: Nobody can be asked.
        """

    async def choose_profile(self, profile: str | None) -> None:
        """Choose a profile, for all workers; None for none. Returns once they follow.

        Raises:
            RelayError: There is none of that name, or nobody can be asked.
        """

    async def records(self, request_id: str = "", most: int = 100) -> tuple[RequestRecord, ...]:
        """Return the accounts of the last requests, the newest first, or of one of them.

        Raises:
            RelayError: Nobody can be asked.
        """


class _RequestId(msgspec.Struct):
    request_id: str


_request_id = JsonReader(_RequestId)


class _ProfileName(msgspec.Struct):
    name: str | None


_profile_name = JsonReader(_ProfileName)


class _IdConverter(BaseConverter):
    """An id of a client's choice: it may have slashes, anywhere."""

    regex = ".+"
    part_isolating = False


def make_pages(service: ManagementContext, started_at: int) -> QuartTrio:
    """Return the app.

    Args:
        service: What is known of the models and of the requests.
        started_at: Unix time, in whole seconds, that the listing gives as `created`.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_PAGE_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.converters["id"] = _IdConverter

    def describe(target: Target) -> dict[str, Any]:
        route = target.route
        said = {"name": route.name, "description": route.description}
        return {
            "id": route.model,
            "object": "model",
            "created": started_at,
            "owned_by": "arriero" if route.remote or not target.peer else target.peer.peer,
            **{key: text for key, text in said.items() if text},
            "status": {
                "value": "loaded"
                if route.remote
                else _LOADED[service.view.standing(route.model).state]
            },
            "meta": {"aliases": list(route.aliases)},
        }

    def describe_selector(selector: SelectorRoute) -> dict[str, Any]:
        said = {"name": selector.name, "description": selector.description}
        facts: dict[str, object] = {
            "type": "selector",
            "strategy": selector.strategy,
            "targets": selector.targets,
        }
        if selector.strategy == "spillover":
            facts["spillover"] = selector.spillover
        counted = selector.targets[:1] if selector.strategy == "pin" else selector.targets
        states = {
            service.view.standing(service.names.find_chosen(target).route.model).state
            for target in counted
        }
        shown: State = next((state for state in _MOST_LOADED if state in states), "stopped")
        return {
            "id": selector.selector,
            "object": "model",
            "created": started_at,
            "owned_by": "arriero",
            **{key: text for key, text in said.items() if text},
            "status": {"value": _LOADED[shown]},
            "meta": {"llamaswap": (json_object(bytes(selector.metadata)) or {}) | facts},
        }

    @app.before_request
    async def check() -> Response | None:
        fields = _fields()
        g.request_id = start_trace(fields, os.urandom(RANDOM_BYTES)).request_id
        cors = service.names.config.cors
        if request.method == "OPTIONS" and cors is not False:
            return _with_fields(Response(b"", status=204), preflight_fields(fields, cors))
        return None

    @app.get("/v1/models")
    @app.get("/models")
    async def models() -> dict[str, Any]:
        config = service.names.config
        targets = [Target(route) for route in config.models if not route.unlisted]
        # Those of peers have a second, short name, if it is free.
        peers = {name: service.names.find(name) for name in config.peer_models}
        targets += [it for name, it in peers.items() if it.peer and it.route.model == name]
        listed = [describe(target) for target in targets]
        listed += [
            describe_selector(selector) for selector in config.selectors if not selector.unlisted
        ]
        pins = service.names.pins()
        listed += [describe(target) | _as_pin(name, target) for name, target in pins.items()]
        return {"object": "list", "data": listed}

    @app.get("/v1/models/<path:name>")
    @app.get("/models/<path:name>")
    async def model(name: str) -> dict[str, Any]:
        target = service.names.find(name)
        for one in service.names.config.selectors:
            if one.selector == name:
                return describe_selector(one)
        return describe(target)

    @app.get("/health")
    async def health() -> Response:
        return Response(health_page.BODY, content_type=health_page.CONTENT_TYPE)

    @app.get("/running")
    async def running() -> dict[str, Any]:
        found = []
        for route in service.names.config.models:
            standing = service.view.standing(route.model)
            if standing.state != "stopped":
                one: dict[str, Any] = {
                    "model": route.model,
                    "state": standing.state,
                    "proxy": standing.endpoint,
                    "ttl": route.ttl_s,
                }
                if standing.memory is not None:  # memory decides
                    one |= {"memory": standing.memory, "pin": route.pin}
                found.append(one)
        return {"running": found}

    @app.get("/api/activity")
    async def activity() -> Response:
        records = await service.records(most=_read_limit(request.args.get("limit")))
        return _json({"requests": records})

    @app.get("/api/activity/<id:request_id>")
    async def one_activity(request_id: str) -> Response:
        records = await service.records(request_id)
        if not records:
            raise _unknown(request_id)
        return _json(records[0])

    async def end(request_id: str) -> Response:
        caller = caller_of(_key_fields()) if service.names.config.api_keys else ""
        result = await service.cancel(request_id, caller, request.remote_addr or "")
        if result == "unknown":
            raise _unknown(request_id)
        if result == "forbidden":
            raise Forbidden(f"cannot end request '{request_id}': it belongs to another API key")
        return _json(
            {
                "request_id": request_id,
                "interrupted": result == "cancelled",
                "message": _END_MESSAGES[result],
            }
        )

    @app.post("/api/requests/<id:request_id>/cancel")
    async def cancel(request_id: str) -> Response:
        return await end(request_id)

    @app.post("/v1/streaming_query/interrupt")
    async def interrupt() -> Response:
        try:
            asked = _request_id.read(await request.get_data())
        except BadJson as exc:
            raise BadRequest(f"cannot tell which request is meant: {exc}") from exc
        return await end(asked.request_id)

    @app.get("/api/profiles")
    async def profiles() -> dict[str, Any]:
        config = service.names.config
        found = [
            {"id": one.profile, "description": one.description, "pins": one.pins}
            for one in sorted(config.profiles, key=lambda one: one.profile)
        ]
        return {"active": config.profile, "profiles": found}

    @app.put("/api/profiles/active")
    async def choose_profile() -> dict[str, Any]:
        try:
            asked = _profile_name.read(await request.get_data())
        except BadJson as exc:
            raise BadRequest(f"cannot tell which profile is meant: {exc}") from exc
        await service.choose_profile(asked.name or None)
        return {"active": service.names.config.profile}

    @app.get("/")
    async def welcome() -> Response:
        listed = [route.model for route in service.names.config.models if not route.unlisted]
        response = Response(_welcome(listed), content_type="text/plain; charset=utf-8")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

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
            return _not_found(pages_there)
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

    pages_there = [
        KnownPath(method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if not rule.arguments
    ]
    return app


def _as_pin(name: str, target: Target) -> dict[str, Any]:
    return {"id": name, "meta": {"llamaswap": {"type": "profile", "modelID": target.route.model}}}


def _fields() -> list[Field]:
    """Return the fields of the request, with lower-case names."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers
    ]


def _key_fields() -> list[Field]:
    return [field for field in _fields() if field[0] in _KEY_FIELDS]


def _read_limit(text: str | None) -> int:
    if text is None:
        return _USUAL_RECORDS
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MAX_RECORDS):
        raise BadRequest(
            f"cannot list that many requests: 'limit' is a number from 1 to {_MAX_RECORDS}"
        )
    return int(text)


def _unknown(request_id: str) -> UnknownRequest:
    return UnknownRequest(f"cannot find a request '{request_id}': only the last ones are kept")


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type=_JSON)


def _wrong_method(allowed: Iterable[str]) -> Response:
    names = sorted(allowed)
    response = _answer(WrongMethod(wrong_method(request.method, request.path, names)))
    response.headers["Allow"] = ", ".join(names)
    return response


def _not_found(pages: Sequence[KnownPath]) -> Response:
    error = UnknownPath(nothing_at(request.method, request.path, pages))
    # A client of Anthropic's with a wrong base URL reads Anthropic's errors.
    path = request.path
    meant = find_like(request.method, path, pages)
    api = ROUTES.api_of_errors(path.encode())
    if api is PLAIN and meant is not None and ends_with(path, meant):
        api = ROUTES.api_of_errors(meant.path.encode())
    fields, body = error_parts(error, api)
    return _with_fields(Response(body, status=error.status), fields)


def _welcome(models: Sequence[str]) -> str:
    shown = "".join(f"  {name}\n" for name in models[:_MAX_SHOWN])
    if len(models) > _MAX_SHOWN:
        shown += f"  and {len(models) - _MAX_SHOWN} more: GET /v1/models\n"
    return _WELCOME + (shown or "  none: the configuration has no models to show\n")


def _with_fields(response: Response, fields: tuple[Field, ...]) -> Response:
    for name, value in fields:
        response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return response


def _answer(error: RelayError) -> Response:
    fields, body = error_parts(error, ROUTES.api_of_errors(request.path.encode()))
    return _with_fields(Response(body, status=error.status), fields)
