"""Every declared route, and the test that tries it: one without a test fails here."""

import re

from arriero.worker.apis.management.declared import PAGES
from arriero.worker.apis.routes import ROUTES
from tests.paths import ROOT

HERE = "tests/worker"
PASSED_ON = f"{HERE}/integration/test_passed_on.py"
PAGE = f"{HERE}/server/test_management_api.py"
RECORDS = f"{HERE}/server/test_activity_pages.py"
OLLAMA = f"{HERE}/server/test_ollama_pages.py"
UI = f"{HERE}/ui/test_routes.py"
ROUTE = f"{HERE}/apis/test_routes.py"

# Test -> paths. All methods of a path are tried by it, unless a path says which.
TESTS = {
    f"{HERE}/integration/test_modes_of_all_routes.py::test_ready_model_responses_pass_unchanged": [
        path.decode() for path in ROUTES.paths if path != b"/v1/streaming_query"
    ],
    f"{HERE}/integration/test_turns.py::test_waiting_turn_is_told_throughout": [
        "/v1/streaming_query"
    ],
    f"{HERE}/integration/test_doors.py::test_who_may_ask_is_not_refused": ["POST /"],
    f"{ROUTE}::test_a_path_says_which_api_is_spoken": [
        it.path for it in ROUTES.declared if re.match(r"/v1\w*/models/|/model/", it.path)
    ],
    f"{PASSED_ON}::test_path_goes_on_byte_for_byte": [
        "/upstream/{model...}/{path...}",
        "/comfyui/{path...}",
    ],
    f"{PASSED_ON}::test_reading_neither_starts_nor_keeps": [
        "GET /props",
        "GET /slots",
        "GET /lora-adapters",
        "GET /v1/audio/voices",
        "/sdapi/v1/loras",
        "GET /v1/files",
    ],
    f"{PASSED_ON}::test_what_is_kept_goes_to_its_server": [
        "/v1/responses/{response}",
        "/v1/responses/{response}/cancel",
        "/v1/responses/{response}/input_items",
        "/v1/files/{file}",
        "/v1/files/{file}/content",
        "/v1/batches",
        "/v1/batches/{batch}",
        "/v1/batches/{batch}/cancel",
        "POST /slots/{slot}",
        "POST /lora-adapters",
        "POST /props",
    ],
    f"{PASSED_ON}::test_file_for_a_peer_passes": ["POST /v1/files"],
    f"{PASSED_ON}::test_asking_starts_whoever_is_named": [
        "/tokenize",
        "/detokenize",
        "/apply-template",
    ],
    f"{PAGE}::test_root_introduces_itself_to_the_authorized": ["GET /"],
    f"{PAGE}::test_every_response_has_its_request_id": ["/health"],
    f"{PAGE}::test_logs_are_shown_by_name": [
        "/logs",
        "/logs/stream",
        "/logs/stream/{name...}",
        "/api/events",
    ],
    f"{UI}::test_the_page_is_there_for_anybody": ["/ui", "/ui/", "/ui/{path...}", "/upstream"],
    f"{UI}::test_its_files_may_be_kept_for_ever": ["/ui/static/{path...}"],
    f"{UI}::test_a_key_says_what_it_is_good_for": ["/api/whoami"],
    f"{UI}::test_orders_reach_the_supervisor": [
        "/api/models/explain/{name...}",
        "/api/models/load/{name...}",
        "/api/config",
        "/api/config/reload",
        "/api/models/pin/{name...}",
        "/api/models/unpin/{name...}",
        "/api/devices/hold",
        "/api/devices/release",
    ],
    f"{UI}::test_how_all_stands_is_told_from_where_one_was": ["/api/live"],
    f"{OLLAMA}::test_listed_names_are_sorted": ["/api/tags"],
    f"{OLLAMA}::test_running_models_say_their_memory": ["/api/ps"],
    f"{OLLAMA}::test_a_model_is_shown_by_any_name": ["/api/show"],
    f"{PAGE}::test_small_pages_are_there": ["/wol-health", "/favicon.ico", "/api/version"],
    f"{PAGE}::test_the_description_is_for_whoever_may_ask": ["/openapi.json"],
    f"{PAGE}::test_listing_says_all_that_is_known": ["/models", "/v1/models/{name...}"],
    f"{PAGE}::test_peer_models_are_listed_once": ["/v1/models"],
    f"{PAGE}::test_every_declared_page_is_answered": ["/models/{name...}"],
    f"{HERE}/integration/test_http1.py::test_models_are_listed_with_their_state": ["/running"],
    f"{PAGE}::test_models_are_stopped": [
        "/unload",
        "/api/models/unload",
        "/api/models/unload/{name...}",
    ],
    "tests/e2e/test_management_routes.py::test_a_day_is_told_in_numbers": [
        "/metrics",
        "/api/performance",
        "/api/hardware",
    ],
    f"{PAGE}::test_last_requests_are_listed_newest_first": ["/api/activity"],
    f"{RECORDS}::test_totals_are_told_over_time": ["/api/history"],
    f"{RECORDS}::test_all_of_it_is_exported": ["/api/activity.csv", "/api/activity.jsonl"],
    f"{RECORDS}::test_usage_is_told_by_day_model_and_key": ["/api/usage"],
    f"{RECORDS}::test_the_table_is_in_llama_swaps_form": ["/api/metrics/activity"],
    f"{RECORDS}::test_stats_are_in_llama_swaps_form": ["/api/metrics/stats"],
    f"{RECORDS}::test_captures_are_shown_to_the_key_that_asked": [
        "/api/captures",
        "/api/captures/{number}",
    ],
    f"{PAGE}::test_one_request_has_its_account": ["/api/activity/{request_id...}"],
    f"{PAGE}::test_a_request_is_ended_once": [
        "/api/requests/{request_id...}/cancel",
        "/v1/streaming_query/interrupt",
    ],
    f"{PAGE}::test_inflight_is_ended_in_its_words": ["/api/inflight/{request_id...}/cancel"],
    f"{HERE}/integration/test_detours.py::test_profiles_are_shown_and_chosen_by_http": [
        "/api/profiles",
        "/api/profiles/active",
    ],
}


def test_every_declared_route_has_a_test() -> None:
    tried = {path for paths in TESTS.values() for path in paths}
    untried = [
        f"{method} {route.path}"
        for route in (*ROUTES.declared, *PAGES)
        for method in route.methods
        if not {route.path, f"{method} {route.path}"} & tried
    ]
    declared = {route.path for route in (*ROUTES.declared, *PAGES)}

    assert untried == []
    assert {path.rpartition(" ")[2] for path in tried} <= declared


def test_every_named_test_is_there() -> None:
    for name in TESTS:
        file, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), name


# All 60 patterns of llama-swap (v250), each with a path that fits it.
REFERENCE = """
POST /v1/chat/completions /v1/responses /v1/completions /v1/messages /v1/messages/count_tokens
POST /v1/embeddings /reranking /rerank /v1/rerank /v1/reranking /infill /completion
POST /v1/audio/speech /v1/audio/voices /v1/images/generations /sdapi/v1/txt2img /sdapi/v1/img2img
POST /audioapi/v1/tasks/run /v/chat/completions /v/responses /v/completions /v/messages
POST /v/messages/count_tokens /v/embeddings /v/rerank /v/reranking
POST /v1/audio/transcriptions /v1/images/edits
GET /v1/audio/voices /sdapi/v1/loras /props
GET /v1/models /models /running /health /wol-health /metrics /unload /api/profiles /upstream
GET /api/metrics/activity /api/metrics/stats /api/performance /api/captures/7 /api/version
GET /api/hardware / /ui/ /favicon.ico /logs /logs/stream /logs/stream/a/b /api/events
POST /api/models/unload /api/models/unload/a/b /api/inflight/7/cancel
PUT /api/profiles/active
ANY /upstream/a/b/c%2Fd /comfyui /comfyui/a
"""


def test_each_route_of_llama_swap_is_declared() -> None:
    lines = [line.split() for line in REFERENCE.split("\n") if line]
    patterns = [(method, path) for method, *paths in lines for path in paths]
    missing = []
    for any_or_one, path in patterns:
        methods = (
            ("GET", "POST", "PUT", "PATCH", "DELETE") if any_or_one == "ANY" else (any_or_one,)
        )
        for method in methods:
            is_page = any(
                method in it.methods and it.pattern.fullmatch(path.encode()) for it in PAGES
            )
            if not is_page and ROUTES.find(path.encode(), method.encode()) is None:
                missing.append(f"{method} {path}")
    assert (missing, len(patterns)) == ([], 60)
