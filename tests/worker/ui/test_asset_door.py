"""Files of the page at the door: whole answers, for what is there and asks for nothing else."""

import pytest

from arriero.protocol.worker_config import WorkerConfig
from arriero.worker.http.request_head import parse_head
from arriero.worker.ui.asset_door import asset_answer
from arriero.worker.ui.assets import ASSETS

CONFIG = WorkerConfig(generation=1, models=())


def answered(method: str, path: str, *lines: str, close: bool = False) -> bytes | None:
    raw = "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()
    return asset_answer(parse_head(raw), CONFIG, bytes(24), close=close)


def test_a_file_is_answered_whole() -> None:
    url = ASSETS.url("main.js")
    whole = answered("GET", url, "Accept-Encoding: gzip")
    head_only = answered("HEAD", url, "Accept-Encoding: gzip", close=True)

    assert whole is not None
    head, _, body = whole.partition(b"\r\n\r\n")
    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"Content-Encoding: gzip" in head
    assert b"X-Request-Id: " in head
    assert head_only is not None
    assert head_only.endswith(b"Connection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("method", "path", "line"),
    [
        ("POST", "main.js", ""),
        ("GET", "main.js", "Content-Length: 3"),
        ("GET", "nothing.js", ""),
        ("GET", "../shell.py", ""),
        ("GET", "", ""),
    ],
)
def test_all_else_goes_by(method: str, path: str, line: str) -> None:
    assert answered(method, ASSETS.url(path), *filter(None, [line])) is None
    assert answered("GET", "/ui/static/0/main.js") is None
    assert answered("GET", "/ui/") is None
