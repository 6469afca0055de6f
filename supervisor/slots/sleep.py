"""Puts servers to sleep and wakes them. The deadline is the caller's.

A server that sleeps has given back most of its memory, and its process stays: vLLM moves the
weights to main memory and forgets its cache (level 1, the only one that can be woken without
loading anything). llama-server (``--sleep-idle-seconds``) falls asleep by itself, and is woken by
any request but those for its health and properties.

Sources: https://docs.vllm.ai/en/latest/features/sleep_mode/; llama.cpp, tools/server/README.md,
"Sleeping on Idle".
"""

from typing import Final

import msgspec
import trio

from arriero.protocol.read_json import JsonReader
from arriero.protocol.records import UpstreamKind

from ..host.http_get import Access, GetFailed, Response, get, post, request_to
from ..progress.server_report import ReadyReport, Report, SleepingReport

# Seconds that falling asleep may take, and waking. Weights of 100 GB are copied in ten or twenty.
SLEEP_LIMIT_S: Final = 30.0
WAKE_LIMIT_S: Final = 60.0

# Seconds between two queries whether it sleeps: vLLM may answer before it does.
_LOOK_S: Final = 0.05

_MAX_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Content-Type": "application/json"}

# In the log of a llama-server; its report says the same, if it has been asked for that.
_SLEEPS_LINE: Final = b"server is entering sleeping state"
_WAKES_LINE: Final = b"server is exiting sleeping state"


class SleepRefused(Exception):
    """A server does not fall asleep, or does not wake; the message has the reason."""


class _IsSleeping(msgspec.Struct):
    is_sleeping: bool


_is_sleeping: Final = JsonReader(_IsSleeping)


async def put_to_sleep(url: str, access: Access) -> None:
    """Return once the server at the base URL `url` sleeps.

    Raises:
        SleepRefused: It cannot.
    """
    await _post(url, "/sleep?level=1", access)
    while not await _sleeps(url, access):  # noqa: ASYNC110  the server has to be asked
        await trio.sleep(_LOOK_S)


async def wake(url: str, access: Access, kind: UpstreamKind) -> None:
    """Return once the server at the base URL `url` is awake.

    Raises:
        SleepRefused: It does not wake.
    """
    if kind == "llama-server":
        await _post(url, "/tokenize", access, b'{"content":""}')
        return
    await _post(url, "/wake_up", access)
    while await _sleeps(url, access):  # noqa: ASYNC110  the server has to be asked
        await trio.sleep(_LOOK_S)


def change_of_sleep(report: Report | None, line: bytes, *, reports: bool) -> bool | None:
    """Return whether a llama-server that was ready sleeps from now on; None for no change.

    Args:
        report: What the line is, if it is a report.
        line: A line of its output.
        reports: It was asked for its report: then its log does not count.
    """
    if reports:
        is_told = isinstance(report, SleepingReport | ReadyReport)
        return isinstance(report, SleepingReport) if is_told else None
    if _SLEEPS_LINE in line:
        return True
    return False if _WAKES_LINE in line else None


async def _sleeps(url: str, access: Access) -> bool:
    response = await _answer(url, "/is_sleeping", access, None)
    found = _is_sleeping.find(response.body) if response.status == 200 else None
    if found is None:
        raise SleepRefused("it does not say whether it sleeps")
    return found.is_sleeping


async def _post(url: str, target: str, access: Access, body: bytes = b"") -> None:
    response = await _answer(url, target, access, body)
    if not response.is_success:
        path = target.partition("?")[0]
        raise SleepRefused(f"it answers {path} with status {response.status}")


async def _answer(url: str, target: str, access: Access, body: bytes | None) -> Response:
    try:
        request = request_to(url + target, _HEADERS, access)
        if body is None:
            return await get(request, _MAX_BYTES)
        return await post(request, body, _MAX_BYTES)
    except GetFailed as exc:
        raise SleepRefused(str(exc)) from exc
