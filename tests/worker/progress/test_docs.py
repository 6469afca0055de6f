"""The table in docs/streams.md of what each route can say, against what is done."""

import re

import pytest

from arriero.protocol.worker_config import ModelRoute
from arriero.worker.apis.routes import (
    APIS,
    BEDROCK,
    COUNT_TOKENS,
    GEMINI,
    OLLAMA_EMBEDDINGS,
    PLAIN,
    ROUTES,
)
from arriero.worker.progress.modes import choose_mode
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "streams.md").read_text()

THINKING = b'{"thinking":{"type":"enabled"}}'

WORDS = {
    "off": "nothing",
    "comment": "comments",
    "heartbeat": "heartbeats",
    "reasoning": "lines of reasoning",
    "event": "events",
}
HEADS, ROWS = (
    lambda table: (
        [cell.strip(" `") for cell in table[0].split("|")[2:-1]],
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]],
    )
)(re.search(r"(?m)^\| route \|(?:.*\n\|?)+?(?=\n)", PAGE)[0].strip().splitlines())  # type: ignore[index]
OTHERS = "all others, and whatever does not stream"


def said(path: str, mode: str, *, asked: bool, thinks: bool, stream: bool = True) -> str:
    """What a request gets, as the table calls it."""
    way = ROUTES.find(path.encode())
    assert way is not None
    route = ModelRoute(model="m", progress="off" if asked else mode)  # type: ignore[arg-type]
    header = mode.encode() if asked else None
    return WORDS[
        choose_mode(header, route, way.api, stream=stream, body=THINKING if thinks else b"{}")
    ]


def paths_of(row: str) -> list[str]:
    return re.findall(r"`(/[^`]*)`", row)


def test_the_table_has_every_mode_and_every_route_that_says_anything() -> None:
    assert list(WORDS) == HEADS
    listed = {path.encode() for name, *_ in ROWS for path in paths_of(name)}
    loud = {path for api in APIS if not api.is_silent for path in api.paths}
    assert listed == loud
    assert ROWS[-1] == [OTHERS, *["nothing"] * len(WORDS)]


@pytest.mark.parametrize("row", ROWS[:-1], ids=[row[0] for row in ROWS[:-1]])
def test_what_the_table_says_is_done(row: list[str]) -> None:
    name, *cells = row
    thinks = [False] if "without `thinking`" in name else [True]
    if "`thinking`" not in name:
        thinks = [True, False]
    for path in paths_of(name):
        for mode, cell in zip(HEADS, cells, strict=True):
            by_field, _, else_ = cell.partition(" by the request's field, else ")
            for thinking in thinks:
                assert said(path, mode, asked=True, thinks=thinking) == by_field
                if mode != "event":  # by the request's field only
                    assert said(path, mode, asked=False, thinks=thinking) == (else_ or by_field)
                assert said(path, mode, asked=True, thinks=thinking, stream=False) == "nothing"


def test_all_others_say_nothing() -> None:
    listed = {path for name, *_ in ROWS for path in paths_of(name)}
    others = [path.decode() for path in ROUTES.paths if path.decode() not in listed]
    others += ["/v1beta/models/m:streamGenerateContent", "/model/m/converse-stream"]
    assert "/v1/messages/count_tokens" in others
    for path in others:
        for mode in HEADS:
            assert said(path, mode, asked=True, thinks=True) == "nothing"
    assert {PLAIN, COUNT_TOKENS, GEMINI, BEDROCK, OLLAMA_EMBEDDINGS} == {
        api for api in APIS if api.is_silent
    }
