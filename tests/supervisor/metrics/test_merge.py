"""What model servers tell, merged: whatever it is, the result is well-formed and our own."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from arriero.supervisor.metrics.merge import MAX_BYTES, Merged
from tests.worker.growth import assert_linear

LLAMA = b"""\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
# HELP llamacpp:kv_cache_usage_ratio KV-cache usage. 1 means 100 percent usage.
# TYPE llamacpp:kv_cache_usage_ratio gauge
llamacpp:kv_cache_usage_ratio 0.5 1700000000000
"""
VLLM = b"""\
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{le="0.3",model_name="m"} 1.0
vllm:e2e_request_latency_seconds_bucket{le="+Inf",model_name="m"} 2.0
vllm:e2e_request_latency_seconds_count{model_name="m"} 2.0
vllm:e2e_request_latency_seconds_sum{model_name="m"} 3.25
"""


def merged(**texts: bytes | None) -> Merged:
    found = Merged()
    for model, text in texts.items():
        found.add(model, text)
    return found


def written(found: Merged, *, open_metrics: bool = False) -> str:
    return "".join(found.lines(open_metrics=open_metrics))


def test_families_of_all_servers_stand_together() -> None:
    found = merged(a=LLAMA, b=LLAMA.replace(b"12", b"7"), c=VLLM, d=None, e=b"<html>no</html>")

    assert written(found) == (
        "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.\n"
        "# TYPE llamacpp:prompt_tokens_total counter\n"
        'llamacpp:prompt_tokens_total{model="a"} 12.0\n'
        'llamacpp:prompt_tokens_total{model="b"} 7.0\n'
        "# HELP llamacpp:kv_cache_usage_ratio KV-cache usage. 1 means 100 percent usage.\n"
        "# TYPE llamacpp:kv_cache_usage_ratio gauge\n"
        'llamacpp:kv_cache_usage_ratio{model="a"} 0.5\n'
        'llamacpp:kv_cache_usage_ratio{model="b"} 0.5\n'
        "# TYPE vllm:e2e_request_latency_seconds histogram\n"
        'vllm:e2e_request_latency_seconds_bucket{model="c",le="0.3",model_name="m"} 1.0\n'
        'vllm:e2e_request_latency_seconds_bucket{model="c",le="+Inf",model_name="m"} 2.0\n'
        'vllm:e2e_request_latency_seconds_count{model="c",model_name="m"} 2.0\n'
        'vllm:e2e_request_latency_seconds_sum{model="c",model_name="m"} 3.25\n'
    )
    assert found.succeeded == {"a": True, "b": True, "c": True, "d": False, "e": False}


FORGED = [
    b'arriero_model_state{model="a",state="ready"} 0',
    b"llamaswap_memory_free_bytes 1",
    b"# TYPE arriero_requests_total gauge",
    b'x{l="a\\"} 1',
    b'x{l="a" 1} 2',
    b'x{l="a"} 1 # {trace="1"} 2',
    b'x{l="a"} 1\rarriero_y 2',
    b'x{l="a",l="b"} 1',
    b'x{__name__="arriero_y"} 1',
    b'{"arriero_y"} 1',
    b"x",
    b"x one",
    b"x 1_0",
    b"x 0x10",
    b'x{l="' + b"v" * 3000 + b'"} 1',
    b"x{" + b",".join(b'l%d="1"' % n for n in range(40)) + b"} 1",
    b'x{l="\xc2\x85"} 1 2 3',
    b"x-y 1",
    b"\xff\xfe 1",
]


@pytest.mark.parametrize("line", FORGED, ids=range(len(FORGED)))
def test_what_is_no_sample_of_theirs_is_left_out(line: bytes) -> None:
    assert written(merged(a=line + b"\n")) == ""


def test_a_models_label_cannot_be_forged() -> None:
    found = merged(a=b'x{model="b",exported="1"} 1\nx{} 2\nx{ l = "\\\\ \\" \\n" , } 3\n')

    assert written(found) == (
        "# TYPE x untyped\n"
        'x{model="a",exported="1",exported_model="b"} 1.0\n'
        'x{model="a"} 2.0\n'
        'x{model="a",l="\\\\ \\" \\n"} 3.0\n'
    )


def test_a_series_is_there_once() -> None:
    text = b'x{a="1",b="2"} 1\nx{b="2",a="1"} 2\n# TYPE x_count histogram\n# TYPE x histogram\n'

    assert written(merged(m=text)).count("\nx{") == 1


def test_floods_are_cut_off() -> None:
    lines = b"".join(b"x%d 1\n" % number for number in range(30_000))
    helps = b"".join(b"# HELP h%d x\n" % number for number in range(30_000))
    found = merged(**{f"m{number}": lines for number in range(15)}, h=helps)

    text = written(found)
    assert text.count("\nx") + 1 <= 15 * 2000 + 2000
    assert len(text) < 2 * 1024**2


@pytest.mark.parametrize(
    "hard", [b'"', b"\\", b"{", b"}", b'x{a="', b'a="\\"', b"} 1 ", b",", b" ", b"\t", b"x{a=\\"]
)
def test_what_a_line_takes_grows_with_its_length(hard: bytes) -> None:
    for begin in (b"", b"x{"):
        assert_linear(partial(merge_lines, begin, hard), 500)


def merge_lines(begin: bytes, hard: bytes, size: int) -> None:
    """Merge a hundred lines of `size` bytes each."""
    text = ((begin + hard * size)[:size] + b"\n") * 100
    assert len(text) < MAX_BYTES
    merged(a=text)


PIECES = st.sampled_from([
    b"x", b"y_total", b"x_bucket", b"{", b"}", b'le="1"', b'model="q"', b'a="\\n"', b'"', b"\\",
    b",", b" ", b"1", b"NaN", b"+Inf", b"-1e3", b"\n", b"\r", b"# TYPE x histogram\n",
    b"# HELP x \\", b"# TYPE y_total counter\n", b"arriero_x", b"\x00", b"\xe2\x80\xa8",
])  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=30).map(b"".join), max_size=3))
def test_the_result_is_always_well_formed(texts: list[bytes]) -> None:
    found = merged(**{f"m{number}": text for number, text in enumerate(texts)})

    for text, read in (
        (written(found), read_plain),
        (written(found, open_metrics=True) + "# EOF\n", read_open),
    ):
        samples = [it for metric in read(text) for it in metric.samples]
        series = [(it.name, frozenset(it.labels.items())) for it in samples]
        assert (
            len(set(series))
            == len(series)
            == text.count("\n") - text.count("\n#") - (text[:1] == "#")
        )
        assert all(it.labels["model"] in found.succeeded for it in samples)
        assert not any(it.name.startswith("arriero") for it in samples)
