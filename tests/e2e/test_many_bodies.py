"""Many long bodies at once, on a real worker: what it takes of the machine, and who is answered."""

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Train, eventually

from tests.bench import stalls

MIB = 1024**2
LIMIT = 100 * MIB
BODIES = 6  # of which one has room, and all are far more than may be
BODY = b'{"model":"a","max_tokens":1,"messages":[],"x":"%b"}' % (b"x" * (63 * MIB))


def post(url: str, answers: list[bytes]) -> None:
    """Send the body, and note the head of the answer."""
    address = urlsplit(url)
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    )
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S) as sock:

        def send() -> None:
            with suppress(OSError):
                sock.sendall(head)
                sock.sendall(BODY)

        sender = threading.Thread(target=send)
        sender.start()
        answer = b""
        with suppress(OSError):
            while data := sock.recv(65536):
                answer += data
        answers.append(answer)
        sender.join()


@pytest.mark.nightly  # by day: integration/test_many_bodies
def test_together_they_take_no_more_than_they_may(start_train: Callable[..., Train]) -> None:
    model = Path(stalls.__file__).resolve()  # it reads long bodies as fast as they come
    config: dict[str, Any] = {
        "bodyMemory": f"{LIMIT // MIB}MiB",
        "models": {"a": {"cmd": f"{sys.executable} {model} --serve ${{PORT}}"}},
    }
    train = start_train(config)
    (worker,) = (
        child
        for child in psutil.Process(train.process.pid).children(recursive=True)
        if "arriero.worker" in " ".join(child.cmdline())
    )
    before = worker.memory_info().rss
    most = 0
    answers: list[bytes] = []
    threads = [threading.Thread(target=post, args=(train.url, answers)) for _ in range(BODIES)]
    for thread in threads:
        thread.start()

    def are_answered() -> bool:
        nonlocal most
        most = max(most, worker.memory_info().rss)
        assert httpx.get(f"{train.url}/health", timeout=PATIENCE_S).status_code == 200
        return len(answers) == len(threads)

    eventually(are_answered, within_s=2 * PATIENCE_S, what="all answers")
    for thread in threads:
        thread.join()

    # What a body needs besides: one read, and what the allocator keeps for the next one.
    assert most - before < LIMIT + 50 * MIB
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
    answered = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ")]
    assert answered
    assert len(refused) + len(answered) == len(threads)
    for answer in refused:
        assert b"\r\nRetry-After: " in answer
        assert b'"code":"body_memory_full"' in answer
    assert worker.is_running()
