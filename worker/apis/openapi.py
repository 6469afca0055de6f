"""All routes as one document, made from what is declared: OpenAPI 3.1.

Shapes come from the types of declarations, words from their docstrings, and the shape of errors
from what an API makes of one. Answers of models are those of their servers: of these only the media
types are told.

Source: OpenAPI Specification 3.1.1, whose schemas are those of JSON Schema 2020-12.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET

import arriero

from ..errors import (
    BadRequest,
    Forbidden,
    HeadTooLarge,
    RelayError,
    TooLarge,
    TooSlow,
    Unauthorized,
    Unavailable,
    UnknownExpectation,
)
from ..http.route_declaration import EVENTS, FORM, JSON, TEXT, RouteDeclaration
from .base.api import Api
from .error_response import error_parts
from .management.declared import PAGES
from .routes import APIS, BY_BODY_ROUTE, CHAT, PLAIN, ROUTES

Json: TypeAlias = dict[str, Any]

_ABOUT: Final = """\
arriero starts the model that a request names, and passes the request on to its server.

Ids of models, and of requests, may have slashes, escaped or not. If there are keys in the
configuration, one has to be shown that has the scope `x-scope`. Whatever answers GET answers HEAD.
Errors have the shape of the path's API and `"src": "arriero"`; they are a text or a page for who
accepts `text/plain` or `text/html` and does not name JSON."""

# What any request may be refused for.
_USUAL: Final = (
    BadRequest,
    Forbidden,
    TooSlow,
    TooLarge,
    UnknownExpectation,
    HeadTooLarge,
    RelayError,
    Unavailable,
)

_SCHEMES: Final[Mapping[str, Json]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "xApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "xGoogApiKey": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is the key."},
}

_PLACE: Final = re.compile(r"\{(\w+)(?:\.\.\.)?\}")
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE"})
_HTML: Final = "text/html; charset=utf-8"
_NO_WORD: Final = re.compile(r"\W+")
_SECTION: Final = re.compile(r"^Attributes:\n((?:(?: .*)?\n?)*)", re.MULTILINE)
_MEMBER: Final = re.compile(r"^    (\w+(?:, \w+)*): ((?:.*\n?(?:     .*\n?)*))", re.MULTILINE)


@lru_cache(maxsize=2)
def described(*, has_keys: bool) -> bytes:
    """Return the document as JSON.

    Args:
        has_keys: A key is needed here, but for what is open.
    """
    return msgspec.json.encode(document(has_keys=has_keys))


def document(*, has_keys: bool) -> Json:
    """Return the document; see `described`."""
    paths: dict[str, Json] = {}
    refusals: dict[str, Json] = {}
    errors = _error_schemas()
    for api, route in _all_routes():
        path = _PLACE.sub(r"{\1}", route.path)
        for method in route.methods:
            operation = _operation(method, route, api, refusals)
            at_path = paths.setdefault(path, {})
            if at_path.setdefault(method.lower(), operation) is not operation:
                raise AssertionError(f"{method} {path} is declared twice")
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "arriero",
            "description": _ABOUT,
            "version": arriero.__version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in _SCHEMES] if has_keys else [],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": _schemas() | errors,
            "responses": {name: refusals[name] for name in sorted(refusals)},
            "securitySchemes": _SCHEMES,
        },
    }


def _all_routes() -> Iterator[tuple[Api, RouteDeclaration]]:
    for page in PAGES:
        yield PLAIN, page
    for api in APIS:
        for route in api.routes:
            yield api, route
    yield CHAT, BY_BODY_ROUTE


def pages() -> tuple[RouteDeclaration, ...]:
    """Return the routes that this program answers itself."""
    return (*PAGES, *(it for it in ROUTES.declared if it.named_in is None))


# --- operations ----------------------------------------------------------------------------------


def _operation(method: str, route: RouteDeclaration, api: Api, refusals: dict[str, Json]) -> Json:
    is_page = route.named_in is None
    operation: Json = {
        "operationId": _operation_id(method, route.path),
        "summary": route.summary,
        "tags": ["arriero" if is_page else api.family],
    }
    if parameters := [*_in_path(route), *_in_query(route)]:
        operation["parameters"] = parameters
    if method not in _BODILESS and (content := _asked(route, api)):
        operation["requestBody"] = {"content": content, "required": is_page}
    responses: Json = {"200": {"description": "Done.", "content": _answered(route, api)}}
    if is_page:
        usual = (*_USUAL, *((Unauthorized,) if route.access != "open" else ()))
        for status, kinds in _by_status((*usual, *route.errors)).items():
            name = _prefix(api) + "Or".join(kind.__name__ for kind in kinds)
            refusals.setdefault(name, _refusal(kinds, api))
            responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    else:
        responses["default"] = {
            "description": "Refused here, or by the model's server.",
            "content": _error_content(api),
        }
    operation["responses"] = responses
    if route.access == "open":
        operation["security"] = []
    elif route.access != "key":
        operation["x-scope"] = route.access
    return operation


def _operation_id(method: str, path: str) -> str:
    """Return a name for functions; a path that ends with a slash is another one than without."""
    named = f"{path}index" if path.endswith("/") else path
    return _NO_WORD.sub("_", f"{method.lower()}{named}").strip("_")


def _in_path(route: RouteDeclaration) -> Iterator[Json]:
    for name in _PLACE.findall(route.path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(route: RouteDeclaration) -> Iterator[Json]:
    if route.named_in == "query":
        about = "The model that is asked; else the body names it."
        yield {"name": "model", "in": "query", "description": about, "schema": {"type": "string"}}
    if route.query is not None:
        (_,), found = msgspec.json.schema_components([route.query], ref_template="{name}")
        shape = _worded(found.pop(route.query.__name__))
        for name, schema in shape["properties"].items():
            yield {
                "name": name,
                "in": "query",
                "required": name in shape["required"],
                "schema": _without_null(schema),
            }


def _without_null(schema: Json) -> Json:
    """Return the schema of a parameter: what is not said is left out, it cannot be null."""
    kinds = [it for it in schema.get("anyOf", ()) if it != {"type": "null"}]
    if not kinds:
        return schema
    kept = {name: it for name, it in schema.items() if name not in {"anyOf", "default"}}
    return kept | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


def _asked(route: RouteDeclaration, api: Api) -> Json:
    if route.request is None and route.named_in is None:
        return {}
    if not isinstance(route.request, str | None):
        return {JSON: {"schema": _reference(route.request)}}
    media_type = route.request or JSON
    schema: Json = {}
    if media_type in (JSON, FORM):
        schema["type"] = "object"
        if route.named_in == "body":
            about = "May be left out where there is one model only."
            schema["properties"] = {"model": {"type": "string", "description": about}}
            if api.stream_end is not None:
                schema["properties"]["stream"] = {"type": "boolean"}
    return {media_type: {"schema": schema}}


def _answered(route: RouteDeclaration, api: Api) -> Json:
    if not isinstance(route.response, str):
        return {JSON: {"schema": _reference(route.response)}}
    kinds = [route.response, *route.also]
    if route.named_in == "body" and api.stream_end is not None:
        kinds += [JSON, EVENTS] if route.response == JSON else [JSON]
    elif api.named_path is not None and route.response == JSON:
        kinds += [EVENTS] if api.named_path.stream_verb.decode() in route.path else []
    # Of a stream of events a schema would be that of one of them.
    untold = {JSON, EVENTS}
    return {kind: {"schema": {} if kind in untold else _TEXTUAL} for kind in dict.fromkeys(kinds)}


_TEXTUAL: Final[Json] = {"type": "string"}


_REFERENCE: Final = "#/components/schemas/{name}"


def _reference(shape: type) -> Json:
    return {"$ref": _REFERENCE.format(name=shape.__name__)}


# --- refusals ------------------------------------------------------------------------------------


def _by_status(kinds: Iterable[type[RelayError]]) -> dict[int, list[type[RelayError]]]:
    """Return them by status; of one status that of the route itself stands first."""
    found: dict[int, list[type[RelayError]]] = {}
    for kind in kinds:
        found.setdefault(kind.status, []).insert(0, kind)
    return dict(sorted(found.items()))


def _refusal(kinds: list[type[RelayError]], api: Api) -> Json:
    response: Json = {
        "description": " ".join(_summary(kind) for kind in kinds),
        "content": _error_content(api),
    }
    if fields := {name.decode() for kind in kinds for name, _ in kind.fields}:
        response["headers"] = {name: {"schema": _TEXTUAL} for name in sorted(fields)}
    return response


def _error_content(api: Api) -> Json:
    schema = {"$ref": _REFERENCE.format(name=f"{_prefix(api)}Error")}
    return {JSON: {"schema": schema}, TEXT: {"schema": _TEXTUAL}, _HTML: {"schema": _TEXTUAL}}


def _error_schemas() -> dict[str, Json]:
    return {f"{_prefix(api)}Error": _schema_of(_example(api)) for api in (PLAIN, *APIS)}


@lru_cache
def _prefix(api: Api) -> str:
    """Return what stands before the names of an API's errors: that of the first one like it."""
    shape = _schema_of(_example(api))
    first = next(it for it in (PLAIN, *APIS) if _schema_of(_example(it)) == shape)
    return "" if first is PLAIN else repr(first).removesuffix("Api")


def _example(api: Api) -> Json:
    """Return an error as that API has it."""
    _, body = error_parts(RelayError("the reason"), api)
    found: Json = msgspec.json.decode(body)
    return found


def _schema_of(value: object) -> Json:
    """Return the schema of what looks like `value`."""
    match value:
        case dict():
            return {
                "type": "object",
                "properties": {name: _schema_of(it) for name, it in value.items()},
                "required": list(value),
            }
        case str():
            return {"type": "string"}
        case int():
            return {"type": "integer"}
        case None:
            return {"type": "null"}
        case _:
            raise AssertionError(f"an error has {value!r}")


# --- shapes --------------------------------------------------------------------------------------


def _schemas() -> dict[str, Json]:
    """Return the schemas of all that pages take and give, with what is in them."""
    _, found = msgspec.json.schema_components(_shapes(), ref_template=_REFERENCE)
    for shape in _within(it.response for it in pages() if isinstance(it.response, type)):
        given = [
            field.encode_name
            for field in msgspec.structs.fields(shape)
            if field.default is not UNSET
        ]
        if given and not shape.__struct_config__.omit_defaults:
            found[shape.__name__]["required"] = given  # whatever has a default is said as well
    return {name: _worded(found[name]) for name in sorted(found)}


def _shapes() -> Iterator[type]:
    for page in pages():
        for shape in (page.request, page.response):
            if isinstance(shape, type):
                yield shape


def _within(shapes: Iterable[type]) -> set[type[msgspec.Struct]]:
    """Return the types of all objects in these shapes."""
    found: set[type[msgspec.Struct]] = set()
    left: list[object] = list(msgspec.inspect.multi_type_info(shapes))
    while left:
        match left.pop():
            case msgspec.inspect.StructType(cls=cls, fields=fields) if cls not in found:
                found.add(cls)
                left += [field.type for field in fields]
            case msgspec.inspect.UnionType(types=types):
                left += types
            case msgspec.inspect.CollectionType(item_type=item):
                left.append(item)
            case msgspec.inspect.TupleType(item_types=items):
                left += items
            case msgspec.inspect.DictType(value_type=value):
                left.append(value)
            case _:
                pass
    return found


def _worded(schema: Json) -> Json:
    """Return a schema whose members have the words of its type's docstring."""
    text = inspect.cleandoc(schema.get("description", ""))
    section = _SECTION.search(text)
    kept = {key: it for key, it in schema.items() if key != "title"}
    if text:
        kept["description"] = _joined(text[: section.start()] if section else text)
    properties = dict(schema.get("properties", {}))
    for names, words in _MEMBER.findall(section[1] if section else ""):
        for name in names.split(", "):
            if name in properties:
                properties[name] = properties[name] | {"description": _joined(words)}
    if properties:
        kept["properties"] = properties
    return kept


def _joined(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _summary(kind: type[RelayError]) -> str:
    return (kind.__doc__ or "").partition("\n\n")[0]
