"""A log line of an upstream -> a hint at its progress, or None.

For llama-servers without a report of their own (see `server_report`) and for vLLM. Every
pattern names where it was seen; none of them is a promise of anybody. Patterns hold on to the
function that logs (``load_model:``) where there is one, because a verbose llama-server also logs
the texts of chat templates and prompts.
"""

import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

Stage: TypeAlias = Literal["starting", "loading", "warming"]
"""What a start consists of: until the first tensor, the tensors, from the last tensor to ready."""

# How much of a line is looked at: hints are short and stand at the front. tqdm's carriage returns
# can make one "line" of many updates, so the end of a long line is looked at as well.
LOOKED_AT: Final = 1024

# llama.cpp's default progress callback prints a dot for each percent, 100 in all. A line with
# fewer than 5 may be anything; one with far more is not that callback.
_FEWEST_DOTS: Final = 5
_ALL_DOTS: Final = 100


class LogHint(msgspec.Struct, frozen=True):
    """The hint in a log line.

    Attributes:
        stage: The stage that the line belongs to.
        fraction: Share of that stage, 0.0 to 1.0; None when the line only marks its beginning.
            1.0 of `warming` means that nothing is left to be done.
    """

    stage: Stage
    fraction: float | None = None


_Reader: TypeAlias = Callable[[re.Match[str]], LogHint | None]


def _always(stage: Stage, fraction: float | None = None) -> _Reader:
    hint = LogHint(stage, fraction)
    return lambda match: hint


def _percent(stage: Stage) -> _Reader:
    return lambda match: LogHint(stage, min(100, int(match["percent"])) / 100)


def _dots(match: re.Match[str]) -> LogHint | None:
    count = len(match["dots"])
    if not _FEWEST_DOTS <= count <= _ALL_DOTS + 10:
        return None
    return LogHint("loading", min(1.0, count / _ALL_DOTS))


# Tried from top to bottom; the first that matches is taken.
_PATTERNS: Final[tuple[tuple[re.Pattern[str], _Reader], ...]] = tuple(
    (re.compile(pattern), reader)
    for pattern, reader in (
        # --- llama-server -----------------------------------------------------------------------
        # "srv  llama_server: listening on http://127.0.0.1:42189" (build 10068); before that
        # "main: server is listening on http://127.0.0.1:8080 - starting the main loop".
        # Not "HTTP server is listening, hostname: ...": older builds log that before they load.
        (
            r"(?:llama_server|main|start): (?:server is )?listening on (?:http|unix)",
            _always("warming", 1.0),
        ),
        (r"(?:llama_server|main): model loaded\s*$", _always("warming", 1.0)),
        # After the empty run; "initializing slots, n_slots = 1" in builds of 2025.
        (r"(?:load_model|init): initializing(?: slots)?, n_slots", _always("warming")),
        (r"warming up the model with an empty run", _always("warming")),
        (r"load_model: loading model '", _always("loading")),
        (r"main: loading model\s*$", _always("loading")),  # until 2025
        # With -v only. Comes twice: once while llama-server tries whether the model will fit.
        (r"load_tensors: loading model tensors", _always("loading", 0.0)),
        (r"load_tensors: ", _always("loading")),
        # "0.00.123.456 I " is the prefix of --log-prefix --log-timestamps.
        (r"^(?:[\d.]+ [A-Z] )?(?P<dots>\.+)\s*$", _dots),
        # --- vLLM -------------------------------------------------------------------------------
        # "Application startup complete." is uvicorn's.
        (r"Application startup complete", _always("warming", 1.0)),
        (
            r"Loading \w+ checkpoint shards:\s+(?P<percent>\d{1,3})% Completed"
            r"(?!.*checkpoint shards:)",  # the last of those that tqdm wrote over each other
            _percent("loading"),
        ),
        (r"Starting to load model ", _always("loading")),
        # "Loading weights took 24.84 seconds", "Model loading took 12.66 GiB ... seconds"
        (r"(?:Loading weights|Model loading) took ", _always("warming")),
        (r"Dynamo bytecode transform time", _always("warming")),
        # "Capturing CUDA graph shapes:  43%|", "Capturing CUDA graphs (mixed ...):  43%|"
        (
            r"Capturing CUDA graph[^\r]*?:\s+(?P<percent>\d{1,3})%(?!.*Capturing CUDA)",
            _percent("warming"),
        ),
        (r"Capturing CUDA graph", _always("warming")),
        (r"Graph capturing finished", _always("warming")),
    )
)


def read_log_line(line: bytes | str) -> LogHint | None:
    """Return the hint that `line` gives, or None. Never raises, whatever the line is.

    The line may lack its end: llama.cpp's dots grow on an unfinished line.
    """
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    if len(text) > 2 * LOOKED_AT:
        text = text[:LOOKED_AT] + "\r" + text[-LOOKED_AT:]
    for pattern, reader in _PATTERNS:
        if (match := pattern.search(text)) is not None:
            return reader(match)
    return None
