"""Which scope each route takes. A route that is not in the table here fails: it was not decided."""

import pytest

from arriero.worker.apis.management.declared import PAGES
from arriero.worker.apis.routes import ROUTES
from arriero.worker.http.route_declaration import Access, RouteDeclaration

# All that needs another one than `infer`, and all that asks no model.
OTHERS: dict[Access, str] = {
    "open": (
        "GET /health, GET /wol-health, GET /favicon.ico, "
        "GET /, GET /ui, GET /ui/, GET /ui/{path...}, GET /ui/static/{path...}"
    ),
    "key": (
        "GET /api/version, GET /v1/models, GET /models, GET /v1/models/{name...}, "
        "GET /models/{name...}, GET /api/tags, POST /api/show, GET /openapi.json, "
        "GET /api/captures, GET /api/captures/{number}, "  # those of one's own
        "GET /upstream, GET /api/whoami"
    ),
    "infer": (
        "POST /api/requests/{request_id...}/cancel, POST /api/inflight/{request_id...}/cancel, "
        "POST /v1/streaming_query/interrupt"
    ),
    "read": (
        "GET /running, GET /api/ps, GET /api/activity, GET /api/activity/{request_id...}, "
        "GET /api/activity.jsonl, GET /api/activity.csv, GET /api/usage, GET /api/history, "
        "GET /api/metrics/activity, GET /api/metrics/stats, "
        "GET /logs, GET /logs/stream, GET /logs/stream/{name...}, GET /api/events, GET /api/live, "
        "GET /api/models/explain/{name...}, "
        "GET /metrics, GET /api/performance, GET /api/hardware, "
        "GET /api/profiles, GET /props, GET /slots, GET /lora-adapters"
    ),
    "admin": (
        "GET /unload, POST /api/models/unload, POST /api/models/unload/{name...}, "
        "POST /api/models/load/{name...}, POST /api/models/pin/{name...}, "
        "POST /api/models/unpin/{name...}, POST /api/devices/hold, POST /api/devices/release, "
        "PUT /api/profiles/active, GET /api/config, POST /api/config/reload, "
        "POST /props, POST /slots/{slot}, POST /lora-adapters, "
        "GET /upstream/{model...}/{path...}, HEAD /upstream/{model...}/{path...}, "
        "POST /upstream/{model...}/{path...}, PUT /upstream/{model...}/{path...}, "
        "PATCH /upstream/{model...}/{path...}, DELETE /upstream/{model...}/{path...}"
    ),
}
TABLE = {pair: access for access, pairs in OTHERS.items() for pair in pairs.split(", ")}


def test_it_is_decided_which_scope_each_route_takes() -> None:
    of_models = {
        f"{method} {it.path}": it.access for it in ROUTES.declared for method in it.methods
    }
    pages = {f"{method} {it.path}": it.access for it in PAGES for method in it.methods}
    decided = {pair: TABLE.get(pair, "infer") for pair in of_models}

    assert of_models | pages == decided | {pair: TABLE.get(pair) for pair in pages}
    assert TABLE.keys() <= of_models.keys() | pages.keys()


def test_what_is_not_said_is_for_administrators() -> None:
    assert RouteDeclaration(path="/new", summary="Something.").access == "admin"


def test_found_routes_take_what_they_declare() -> None:
    for it in ROUTES.declared:
        path = it.path.replace("{model...}", "m").replace("...}", "}").encode()
        for method in it.methods:
            found = ROUTES.find(path, method.encode())
            assert (found is None, it.path) == (it.named_in is None, it.path)
            assert found is None or found.access == it.access


@pytest.mark.parametrize(
    ("method", "path", "access"),
    [
        (b"POST", b"/v1/chat/completions", "infer"),
        (b"POST", b"/completion", "infer"),
        (b"GET", b"/v1/models", "key"),
        (b"GET", b"/slots", "read"),
        (b"HEAD", b"/health", "open"),
        (b"POST", b"/props", "admin"),
        (b"POST", b"/v1/chat/completions/", "admin"),
        (b"POST", b"/v1/../props", "admin"),
        (b"PUT", b"/v1/chat/completions", "admin"),
        (b"GET", b"/", "open"),
        (b"GET", b"/index.js", "admin"),
        (b"POST", b"/upstream/other/v1/chat/completions", "admin"),
        (b"POST", b"/comfyui/prompt", "admin"),
        (b"POST", b"/v1beta/models/%2e./%2E%2e/slots/0:generateContent", "admin"),
        (b"GET", b"//slots", "admin"),
    ],
)
def test_a_models_server_is_asked_by_the_same_rules(
    method: bytes, path: bytes, access: Access
) -> None:
    assert ROUTES.access_under_upstream(method, path) == access
