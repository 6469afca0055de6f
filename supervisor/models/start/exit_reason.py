"""Reason why a model's process ended, in words for clients."""

import re
import signal

from arriero.protocol.values import ErrorInfo

from ...processes.process import Exit

# Form of a log line that gives a reason. The first such line names the cause: which
# file, which tensor; the last one what was given up because of it. Both are shown.
_REASON = re.compile(
    r"(?i)\b(\w*errors?|\w*exception|fail(ed|ure)?|cannot|can't|couldn't|unable|invalid|not found|"
    r"no such|no module named|out of memory|unknown|unsupported|refused|denied|in use)\b"
)

# Its end is reported already; and llama-server writes it or not, as its log has time or has not.
_FAREWELL = re.compile(r"(?i)\b(exiting|shutting down|terminating)\b")

# llama-server's time stamp, which changes from start to start, and level. Warnings and remarks
# about what it goes on without are no reasons.
_STAMP = re.compile(r"\d+(?:\.\d+){3} ([DIWE]) +")

# What does not belong into a response: paths (they reveal users and disks), and all that follows
# an option, for it may be a key.
_PATH = re.compile(r"(?<![\w.])(~?/[^\s'\":,;)]+/)")
_OPTION = re.compile(r"(--?[a-z][\w-]*)([= ])(\S+)")

_LONGEST = 200


# Messages of servers for which there was not enough memory: llama.cpp with CUDA, ROCm, Vulkan and
# SYCL; PyTorch; the C++ library and the system. What llama.cpp has to say of main memory may be
# lost with its log when it aborts; the assertion that ends it is not.
_OUT_OF_GPU = re.compile(
    r"(?i)(?:cuda|hip|musa)malloc failed: out of memory|(?:cuda|rocm|hip) error: out of memory|"
    r"ErrorOutOfDeviceMemory|UR_RESULT_ERROR_OUT_OF_(?:DEVICE_)?(?:MEMORY|RESOURCES)|"
    r"(?:failed|unable) to allocate (?:cuda|rocm|vulkan|sycl|musa)\w* buffer|"
    r"torch\S*OutOfMemoryError|CUDA out of memory"
)
_OUT_OF_RAM = re.compile(
    r"(?i)std::bad_alloc|cannot allocate memory|(?:failed|unable) to allocate cpu\w* buffer|"
    r"ggml_aligned_malloc: insufficient memory|GGML_ASSERT\(ctx->mem_buffer != NULL\) failed|"
    r"\bMemoryError\b"
)


def out_of(end: Exit) -> tuple[str, ...]:
    """Return of which devices there was not enough for a process that ended while it loaded.

    ``gpu`` is any of its GPUs. SIGKILL that we did not send is that of the kernel, which is short
    of memory, or of a control group that is.
    """
    if end.asked:
        return ()
    found = []
    if any(map(_OUT_OF_GPU.search, end.tail)):
        found.append("gpu")
    if end.code == -signal.SIGKILL or any(map(_OUT_OF_RAM.search, end.tail)):
        found.append("ram")
    return tuple(found)


def crashed(end: Exit) -> bool:
    """Return whether it crashed: so llama-server ends when memory for its context is refused.

    By then it has said why, but its log is lost with it.
    """
    return not end.asked and end.code in {-signal.SIGSEGV, -signal.SIGABRT}


def load_failed(model: str, why: str) -> ErrorInfo:
    """Return the error for waiters of a model that cannot be started."""
    return ErrorInfo(code="model_load_failed", message=f"model {model} failed to load: {why}")


def why_it_failed(model: str, end: Exit, *, was_ready: bool) -> ErrorInfo:
    """Return the error for waiters and users of `model`.

    Args:
        model: Its id.
        end: How its process ended.
        was_ready: It served before that.
    """
    if end.asked:
        return ErrorInfo(
            code="model_unavailable", message=f"model {model} was stopped", transient=True
        )
    reason = f"its server {end}" + _reasons(end.tail)
    if was_ready:
        return ErrorInfo(
            code="model_unavailable", message=f"model {model} went away: {reason}", transient=True
        )
    return load_failed(model, reason)


def _reasons(tail: tuple[str, ...]) -> str:
    """Return the likeliest reasons in the log, fit to be shown."""
    found = [shown for line in tail if _is_reason(line) and (shown := _shown(line))]
    if not found:
        return ""
    first, last = found[0], found[-1]
    if first == last:
        return f"; last log line: {last}"
    return f"; first error in its log: {first}; last log line: {last}"


def _is_reason(line: str) -> bool:
    stamp = _STAMP.match(line)
    if stamp is not None and stamp[1] in "DIW":
        return False
    return _FAREWELL.search(line) is None and (
        stamp is not None or _REASON.search(line) is not None
    )


def _shown(line: str) -> str:
    line = _STAMP.sub("", line, count=1)
    line = _OPTION.sub(r"\1\2...", _PATH.sub("", line))
    return " ".join("".join(char for char in line if char.isprintable()).split())[:_LONGEST]
