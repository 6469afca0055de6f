"""What is asked with GET: the list of models, health, what runs. Doing, in little steps.

Nothing here starts a model or waits for one.
"""

from typing import Any

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from arriero.protocol.routes import ModelRoute
from arriero.protocol.values import State

from .errors import RelayError, UnknownModel, UnknownPath, WrongMethod, body_of
from .keys import check_key
from .paths import MODEL_ROUTES
from .serving import Service

_JSON = "application/json"
_KEY_FIELDS = ("authorization", "x-api-key", "api-key")

# What the listing says of each state: `draining` still answers.
_LOADED: dict[State, str] = {
    "stopped": "unloaded",
    "starting": "loading",
    "ready": "loaded",
    "draining": "loaded",
    "stopping": "unloaded",
}


def make_pages(service: Service, started_at: int) -> QuartTrio:
    """Return the app.

    Args:
        service: What is known of the models.
        started_at: Unix time, in whole seconds, that the listing gives as `created`.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024

    def describe(route: ModelRoute) -> dict[str, Any]:
        said = {"name": route.name, "description": route.description}
        return {
            "id": route.model,
            "object": "model",
            "created": started_at,
            "owned_by": "arriero",
            **{key: text for key, text in said.items() if text},
            "status": {"value": _LOADED[service.view.standing(route.model).state]},
            "meta": {"aliases": list(route.aliases)},
        }

    @app.before_request
    async def check() -> None:
        fields = [(name, request.headers.getlist(name)) for name in _KEY_FIELDS]
        check_key(
            service.names.config.api_keys,
            request.method.encode(),
            request.path.encode(),
            [(name.encode(), value.encode()) for name, values in fields for value in values],
        )

    @app.get("/v1/models")
    @app.get("/models")
    async def models() -> dict[str, Any]:
        routes = [route for route in service.names.config.models if not route.unlisted]
        return {"object": "list", "data": [describe(route) for route in routes]}

    @app.get("/v1/models/<path:name>")
    @app.get("/models/<path:name>")
    async def model(name: str) -> dict[str, Any]:
        return describe(service.names.find(name))

    @app.get("/health")
    async def health() -> Response:
        return Response("OK", content_type="text/plain; charset=utf-8")

    @app.get("/running")
    async def running() -> dict[str, Any]:
        found = []
        for route in service.names.config.models:
            standing = service.view.standing(route.model)
            if standing.state != "stopped":
                found.append(
                    {
                        "model": route.model,
                        "state": standing.state,
                        "proxy": standing.endpoint,
                        "ttl": route.ttl_s,
                    }
                )
        return {"running": found}

    for path in MODEL_ROUTES:
        app.add_url_rule(path.decode(), endpoint=path.decode(), view_func=_post_only, methods=[])

    @app.errorhandler(RelayError)
    async def refuse(error: RelayError) -> Response:
        return _answer(error)

    @app.errorhandler(HTTPException)
    async def refuse_http(error: HTTPException) -> Response:
        if error.code == 405:
            response = _answer(WrongMethod("cannot use this method here"))
            response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", ()) or ()))
            return response
        if error.code == 404:
            return _answer(UnknownPath("cannot find anything at this path"))
        response = _answer(RelayError(error.description or error.name))
        response.status_code = error.code or 500
        return response

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        app.logger.exception("page.failed error=%s", type(error).__name__)
        return _answer(RelayError("cannot answer: an error in this program"))

    @app.after_request
    async def close(response: Response) -> Response:
        # The client's next request comes on a new connection, so perhaps through the relay door.
        response.headers["Connection"] = "close"
        return response

    return app


async def _post_only() -> Response:
    return _answer(WrongMethod("cannot use this method here"))


def _answer(error: RelayError) -> Response:
    response = Response(body_of(error), status=error.status, content_type=_JSON)
    for name, value in error.fields:
        response.headers[name.decode()] = value.decode()
    return response


__all__ = ["UnknownModel", "make_pages"]
