import pytest

from arriero.supervisor.models.start.exit_reason import crashed, out_of, why_it_failed
from arriero.supervisor.processes.process import Exit


def ended(*tail: str, code: int = 1) -> Exit:
    return Exit(code=code, ran_s=0.25, asked=False, tail=tail)


MISSING = (
    "0.00.038.015 W srv  llama_server: no API key is set: this can be an error",
    "0.00.039.850 I srv    load_model: loading model 'missing.gguf'",
    "0.00.040.074 E gguf_init_from_file: failed to open GGUF file 'missing.gguf' (No such file)",
    "0.00.040.312 E llama_model_load_from_file_impl: failed to load model",
    "0.00.040.730 E srv    load_model: failed to load model, 'missing.gguf'",
    "0.00.040.777 I srv    operator(): operator(): cleaning up before exit...",
)
EXITING = "0.00.041.500 E srv  llama_server: exiting due to model loading error"


@pytest.mark.parametrize("tail", [MISSING, (*MISSING, EXITING)])
def test_the_cause_is_the_first_error_and_what_it_led_to_the_last(tail: tuple[str, ...]) -> None:
    error = why_it_failed("qwen", ended(*tail), was_ready=False)
    assert error.code == "model_load_failed"
    assert not error.transient
    assert error.message == (
        "model qwen failed to load: its server exited with code 1 after 0.2 s; first error in its "
        "log: gguf_init_from_file: failed to open GGUF file 'missing.gguf' (No such file); "
        "last log line: srv load_model: failed to load model, 'missing.gguf'"
    )


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        ((), ""),
        (("loading", "bye"), ""),
        (("usage:", "error: invalid argument: -x", "", "to show usage, run with -h"), "-x"),
        (("Traceback:", "ModuleNotFoundError: No module named 'vllm'"), "named 'vllm'"),
        (("error: a", "error: a"), "; last log line: error: a"),
        (("error: a", "error: b"), "; first error in its log: error: a; last log line: error: b"),
    ],
)
def test_lines_that_give_no_reason_are_left_out(tail: tuple[str, ...], told: str) -> None:
    message = why_it_failed("qwen", ended(*tail), was_ready=False).message
    assert message.endswith(told or "after 0.2 s")


def test_a_crash_in_service_is_worth_another_try() -> None:
    error = why_it_failed("qwen", ended(code=-11), was_ready=True)
    assert (error.code, error.transient) == ("model_unavailable", True)
    assert "signal 11" in error.message


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    error = why_it_failed("qwen", Exit(code=1, ran_s=5.0, asked=True), was_ready=True)
    assert (error.message, error.transient) == ("model qwen was stopped", True)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("error: cannot open /home/jo/models/qwen.gguf", "error: cannot open qwen.gguf"),
        ("error: invalid argument: --api-key s3cret", "error: invalid argument: --api-key ..."),
        ("error: --hf-token=abc is unknown", "error: --hf-token=... is unknown"),
        ("error: \x1b[31mred\x07", "error: [31mred"),
        ("error: " + "x" * 900, "error: " + "x" * 193),
    ],
)
def test_neither_paths_nor_values_of_options_are_shown(line: str, shown: str) -> None:
    message = why_it_failed("qwen", ended(line), was_ready=False).message
    assert message.endswith(f"last log line: {shown}")


@pytest.mark.parametrize(
    ("end", "devices"),
    [
        (
            ended("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"),
            "gpu",
        ),
        (ended("ggml_vulkan: Device memory allocation failed: ErrorOutOfDeviceMemory"), "gpu"),
        (ended("alloc_tensor_range: failed to allocate ROCm0 buffer of size 99"), "gpu"),
        (ended("torch.OutOfMemoryError: CUDA out of memory."), "gpu"),
        (ended("terminate called after throwing an instance of 'std::bad_alloc'", code=-6), "ram"),
        (ended("alloc_tensor_range: failed to allocate CPU buffer of size 99"), "ram"),
        (ended("ggml.c:1643: GGML_ASSERT(ctx->mem_buffer != NULL) failed"), "ram"),
        (ended("ggml_aligned_malloc: insufficient memory (attempted to allocate  9.73 MB)"), "ram"),
        (ended("loading", code=-9), "ram"),
        (ended(*MISSING), ""),
        (Exit(code=-9, ran_s=1, asked=True), ""),
    ],
)
def test_the_device_is_known_that_was_short(end: Exit, devices: str) -> None:
    assert " ".join(out_of(end)) == devices


def test_a_crash_may_be_for_want_of_memory() -> None:
    assert [code for code in (0, 1, -6, -9, -11, -15) if crashed(ended(code=code))] == [-6, -11]
    assert not crashed(Exit(code=-11, ran_s=1, asked=True))
