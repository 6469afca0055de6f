"""The description of all routes."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from arriero.worker.apis.base.api import Api
from arriero.worker.apis.management.declared import PAGES
from arriero.worker.apis.openapi import described, document, pages
from arriero.worker.apis.routes import APIS, ROUTES
from arriero.worker.errors import Unauthorized, UnknownModel
from arriero.worker.http.route_declaration import JSON, RouteDeclaration
from tests.described import mistakes

METHODS = {"get", "head", "post", "put", "patch", "delete"}


def operations(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, at_path in found["paths"].items()
        for method, operation in at_path.items()
    }


def test_it_is_openapi_by_its_schema() -> None:
    judges = find_spec("openapi_spec_validator")  # to import it takes 0.7 s
    assert judges is not None
    folder = (judges.submodule_search_locations or [""])[0]
    schema = (Path(folder) / "resources/schemas/v3.1/schema.json").read_text()
    judge = jsonschema_rs.Draft202012Validator(json.loads(schema))

    assert [str(error) for error in judge.iter_errors(json.loads(described(has_keys=True)))] == []


@pytest.mark.nightly
def test_it_is_openapi_by_all_rules() -> None:
    from openapi_spec_validator import validate

    for has_keys in (True, False):
        validate(json.loads(described(has_keys=has_keys)))


def test_every_route_is_in_it_once() -> None:
    found = operations(document(has_keys=True))
    declared = [
        f"{method} {route.path.replace('...', '')}"
        for route in (*PAGES, *ROUTES.declared)
        for method in route.methods
    ]

    assert sorted(found) == sorted(declared)
    assert len({it["operationId"] for it in found.values()}) == len(found)


def test_every_page_says_its_shapes() -> None:
    """A page without typed shapes of what it takes and gives fails here.

    Its answer is a type, or text of another kind than JSON; its body is a type; nothing is left
    out that it is refused for, which `tests.described` holds all of the pages' answers against.
    """
    untyped = [
        route.path for route in pages() if route.response == JSON or isinstance(route.request, str)
    ]

    assert untyped == []


def test_every_member_of_an_answer_is_described() -> None:
    found = document(has_keys=True)["components"]["schemas"]

    assert found["RunningEntry"]["properties"]["ttl"]["description"] == "Seconds."
    assert found["RequestRecord"]["description"].endswith("`_ms` are milliseconds.")
    assert {"object", "data"} == set(found["ModelList"]["required"])
    assert found["LoadValue"]["properties"]["value"]["enum"] == sorted(
        ("unloaded", "loading", "loaded", "sleeping")
    )
    assert not [name for name, schema in found.items() if "Attributes:" in str(schema)]


@pytest.mark.parametrize("api", APIS, ids=repr)
def test_errors_have_the_shape_that_is_described(api: Api) -> None:
    whole = document(has_keys=True)
    for route in api.routes:
        if route.named_in is not None:
            operation = operations(whole)[f"{route.methods[0]} {route.path.replace('...', '')}"]
            content = operation["responses"]["default"]["content"][JSON]
            judge = jsonschema_rs.Draft202012Validator(
                content["schema"] | {"components": whole["components"]}
            )
            body = b'{"src":"arriero",' + api.error_body(Unauthorized("no"))[1:]
            judge.validate(msgspec.json.decode(body))
            assert not judge.is_valid({"src": "arriero"})


def test_a_key_is_asked_for_where_it_is_needed() -> None:
    with_keys, without = document(has_keys=True), document(has_keys=False)
    open_routes = {name for name, it in operations(with_keys).items() if it.get("security") == []}

    page = {"GET /", "GET /ui", "GET /ui/", "GET /ui/{path}", "GET /ui/static/{path}"}
    assert open_routes == page | {"GET /health", "GET /wol-health", "GET /favicon.ico"}
    assert with_keys["security"][0] == {"bearer": []}
    assert without["security"] == []
    assert "401" not in operations(with_keys)["GET /health"]["responses"]


def test_a_parameter_is_never_null() -> None:
    found = operations(document(has_keys=True))
    schemas = {
        f"{name} {it['name']}": it["schema"]
        for name, operation in found.items()
        for it in operation.get("parameters", ())
        if it["in"] == "query"
    }

    assert schemas["GET /api/performance after"]["format"] == "date-time"
    assert not [name for name, schema in schemas.items() if "null" in str(schema)]


def test_streams_are_told_of() -> None:
    found = operations(document(has_keys=True))

    def kinds(name: str) -> list[str]:
        return list(found[name]["responses"]["200"]["content"])

    assert kinds("POST /v1/chat/completions") == [JSON, "text/event-stream"]
    assert kinds("POST /v1/embeddings") == [JSON]
    assert kinds("POST /api/chat") == ["application/x-ndjson", JSON]
    assert kinds("POST /v1/models/{model}:streamGenerateContent") == [JSON, "text/event-stream"]
    assert kinds("POST /v1/models/{model}:generateContent") == [JSON]
    assert kinds("POST /model/{model}/converse-stream") == ["application/vnd.amazon.eventstream"]


def test_what_is_declared_twice_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = (*PAGES, RouteDeclaration(path="/running", summary="x", methods=("GET",)))
    monkeypatch.setattr("arriero.worker.apis.openapi.PAGES", twice)

    with pytest.raises(AssertionError, match="GET /running is declared twice"):
        document(has_keys=True)


def test_refusals_of_one_status_are_told_together() -> None:
    found = document(has_keys=True)["components"]["responses"]

    assert found["UnknownModel"]["description"] == UnknownModel.__doc__
    assert list(found["Unavailable"]["headers"]) == ["Retry-After"]
    assert list(found["Unauthorized"]["headers"]) == ["WWW-Authenticate"]


ERROR = b'{"src":"arriero","error":{"message":"m","type":"t","param":null,"code":"c"}}'


@pytest.mark.parametrize(
    ("target", "status", "kind", "body", "mistake"),
    [
        (
            "/api/version",
            200,
            JSON,
            b'{"version":"1","arriero":"1","commit":"","build_date":""}',
            None,
        ),
        ("/api/version?x=y", 503, JSON, ERROR, None),
        ("/nothing", 200, JSON, b"", None),  # is not described at all
        ("/api/version", 418, JSON, ERROR, "this status is not described"),
        ("/api/version", 200, "text/csv", b"", "'text/csv' is not described"),
        ("/api/version", 200, JSON, b'{"version":"1"}', "is a required property"),
        ("/running", 200, JSON, b'{"running":[{}]}', "is a required property"),
        ("/running", 503, JSON, b'{"error":{}}', "is a required property"),
        ("/v1/models/a/b", 404, JSON, ERROR[:-2] + b',"x":1}}', None),
        ("/v1/models", 404, JSON, ERROR, "this status is not described"),
    ],
)
def test_other_answers_than_described_are_noticed(
    target: str, status: int, kind: str, body: bytes, mistake: str | None
) -> None:
    found = mistakes("GET", target, status, [("Content-Type", kind)], body)

    assert bool(found) == (mistake is not None)
    assert mistake is None or mistake in found[0]
