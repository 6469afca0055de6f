import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.progress.log_lines import LogHint, read_log_line

LOADING, WARMING, DONE = LogHint("loading"), LogHint("warming"), LogHint("warming", 1.0)

# As they were written: llama-server build 10068, older builds, vLLM 0.6 to 0.19.
REAL = [
    ("0.00.006.234 I srv    load_model: loading model '/models/m.gguf'", LOADING),
    ("main: loading model", LOADING),
    (
        "0.00.121.993 I load_tensors: loading model tensors, this can take a while... "
        "(mmap = false, direct_io = false)",
        LogHint("loading", 0.0),
    ),
    ("0.00.260.624 I load_tensors:          CPU model buffer size =    92.10 MiB", LOADING),
    ("llm_load_tensors: ggml ctx size =    0.11 MiB", LOADING),
    ("." * 50, LogHint("loading", 0.5)),
    ("0.00.123.456 I " + "." * 100, LogHint("loading", 1.0)),
    (
        "0.00.335.556 I cmn  common_init_: warming up the model with an empty run - please wait "
        "... (--no-warmup to disable)",
        WARMING,
    ),
    ("0.00.379.180 I srv    load_model: initializing, n_slots = 4, n_ctx_slot = 512", WARMING),
    ("srv          init: initializing slots, n_slots = 1", WARMING),
    ("0.00.366.567 I srv  llama_server: model loaded", DONE),
    ("main: model loaded", DONE),
    ("0.00.366.582 I srv  llama_server: listening on http://127.0.0.1:42189", DONE),
    ("main: server is listening on http://127.0.0.1:8080 - starting the main loop", DONE),
    (
        "Loading safetensors checkpoint shards:  56% Completed | 5/9 [00:13<00:11,  2.87s/it]",
        LogHint("loading", 0.56),
    ),
    (
        "\rLoading safetensors checkpoint shards:  33% Completed | 1/3 [00:24<00:49]"
        "\rLoading safetensors checkpoint shards:  67% Completed | 2/3 [00:49<00:24]",
        LogHint("loading", 0.67),
    ),
    ("INFO 10-07 22:54:57 model_runner.py:1014] Starting to load model org/model...", LOADING),
    ("(EngineCore pid=1) INFO 06-02 [default_loader.py:397] Loading weights took 26.93 s", WARMING),
    ("INFO 06-02 [backends.py:1148] Dynamo bytecode transform time: 8.52 s", WARMING),
    (
        "Capturing CUDA graph shapes:  43%|####      | 15/35 [00:06<00:00,  5.00it/s]",
        LogHint("warming", 0.43),
    ),
    (
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|###| 67/67 [00:03<00:00]",
        DONE,
    ),
    ("INFO Capturing CUDA graphs for decode. This may lead to unexpected consequences", WARMING),
    ("INFO:     Application startup complete.", DONE),
]


@pytest.mark.parametrize(("line", "hint"), REAL)
def test_what_servers_log_is_understood(line: str, hint: LogHint) -> None:
    assert read_log_line(line) == hint
    assert read_log_line(line.encode() + b"\n") == hint


@pytest.mark.parametrize(
    "line",
    [
        "",
        "...",
        "." * 111,
        "...... and so on",
        # Older builds open their port first and say so long before they are ready.
        "main: HTTP server is listening, hostname: 127.0.0.1, port: 8080, http threads: 15",
        "INFO 05-06 [api_server.py:1] vLLM API server version 0.19.0",
        # Comes in the trial run too, before the first tensor is read.
        "0.00.127.058 I llama_context: constructing llama_context",
        "0.00.004.103 I cmn  common_param: verbosity = 3 (adjust with the `-lv N` CLI arg)",
        "You are helpful. Say when the model loaded and say: listening on http",
    ],
)
def test_other_lines_give_no_hint(line: str) -> None:
    assert read_log_line(line) is None


def test_the_end_of_a_very_long_line_is_looked_at() -> None:
    shards = "\rLoading safetensors checkpoint shards: {:>3}% Completed | [00:13<00:11]"
    line = "".join(shards.format(percent) for percent in range(91))

    assert read_log_line(line) == LogHint("loading", 0.9)


PIECES = st.sampled_from([line for line, _ in REAL]) | st.text(max_size=20) | st.just("\r")


@given(st.binary() | st.text() | st.lists(PIECES).map("".join))
def test_no_line_raises_and_every_fraction_is_within_its_limits(line: bytes | str) -> None:
    hint = read_log_line(line)

    assert hint is None or hint.fraction is None or 0.0 <= hint.fraction <= 1.0
