import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.progress.server_report import (
    MAX_LINE_BYTES,
    LoadingReport,
    ReadyReport,
    SleepingReport,
    read_report_line,
)

PREFIX = b"cmd_child_to_router:state:"


def loading(**payload: object) -> bytes:
    return PREFIX + json.dumps({"state": "loading", "payload": payload}).encode()


# As llama-server wrote them (build 10068), line ends included.
REAL = [
    (
        PREFIX + b'{"state":"loading","payload":{"stages":["text_model"],"current":"text_model",'
        b'"value":0.7890709638595581}}\n',
        LoadingReport(("text_model",), "text_model", 0.7890709638595581),
    ),
    (
        PREFIX + b'{"state":"loading","payload":{"stages":["text_model","spec_model"],'
        b'"current":"spec_model","value":0.0}}\n',
        LoadingReport(("text_model", "spec_model"), "spec_model", 0.0),
    ),
    (
        PREFIX + b'{"state":"ready","payload":{"id":"m.gguf","aliases":["m.gguf"],"tags":[],'
        b'"object":"model","created":1795256445,"owned_by":"llamacpp","meta":{"vocab_type":1,'
        b'"n_vocab":262144,"n_ctx":512,"n_ctx_train":32768,"n_embd":640,"n_params":268098176,'
        b'"size":246587904,"ftype":"Q4_K - Medium"}}}\n',
        ReadyReport(n_ctx=512),
    ),
    (b"cmd_child_to_router:ready\n", ReadyReport()),
    (PREFIX + b'{"state":"sleeping","payload":{}}\n', SleepingReport()),
]


@pytest.mark.parametrize(("line", "report"), REAL)
def test_what_llama_server_writes_is_understood(
    line: bytes, report: LoadingReport | ReadyReport | SleepingReport
) -> None:
    assert read_report_line(line) == report
    assert read_report_line(line.decode()) == report
    assert read_report_line(line.replace(b"\n", b"\r\n")) == report


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b" " + REAL[0][0],
        b"cmd_child_to_router:",
        PREFIX,
        PREFIX + b"{",
        PREFIX + b"[" * 30_000,
        PREFIX + b'{"state":"loading"}',
        PREFIX + b'{"state":"loading","payload":{"current":"\xff","value":0.5}}',
        PREFIX + b'{"state":"loading","payload":{"current":"a","value":1e999}}',
        loading(stages=["a"], value=0.5),
        loading(stages="a", current="a", value=0.5),
        loading(stages=["a"], current="a", value="0.5"),
        loading(stages=["a"], current="a", value=True),
        loading(stages=["a"] * 17, current="a", value=0.5),
        loading(stages=["a"], current="a" * 65, value=0.5),
        REAL[0][0].rstrip() + b" " * MAX_LINE_BYTES,
    ],
)
def test_anything_else_reports_nothing(line: bytes) -> None:
    assert read_report_line(line) is None


@pytest.mark.parametrize(("value", "taken_as"), [(-1, 0.0), (1.5, 1.0), (1, 1.0)])
def test_a_value_out_of_range_is_brought_back(value: float, taken_as: float) -> None:
    report = read_report_line(loading(stages=["a"], current="a", value=value))

    assert report == LoadingReport(("a",), "a", taken_as)


@pytest.mark.parametrize(
    "payload",
    ["null", "5", "{}", '{"meta":null}', '{"meta":{"n_ctx":-1}}', '{"meta":{"n_ctx":"a"}}'],
)
def test_ready_counts_whatever_stands_beside_it(payload: str) -> None:
    line = f'cmd_child_to_router:state:{{"state":"ready","payload":{payload}}}'

    assert read_report_line(line) == ReadyReport(n_ctx=None)


TEXT, SPEC, BOTH = "text_model", "spec_model", ("text_model", "spec_model")


@pytest.mark.parametrize(
    ("report", "fraction", "is_complete"),
    [
        (LoadingReport((TEXT,), TEXT, 0.25), 0.25, False),
        (LoadingReport((TEXT,), TEXT, 1.0), 1.0, True),
        (LoadingReport(BOTH, TEXT, 0.5), 4 / 9, False),
        (LoadingReport(BOTH, TEXT, 1.0), 8 / 9, False),
        (LoadingReport(BOTH, SPEC, 0.0), 8 / 9, False),
        (LoadingReport(BOTH, SPEC, 1.0), 1.0, True),
        (LoadingReport(("new", "newer"), "newer", 0.5), 0.75, False),
        (LoadingReport((), "unlisted", 0.5), 0.5, False),
        (LoadingReport(BOTH, "unlisted", 1.0), 0.0, False),
    ],
)
def test_the_stages_make_one_fraction_and_only_the_last_completes_it(
    report: LoadingReport, fraction: float, is_complete: bool
) -> None:
    assert report.fraction == pytest.approx(fraction)
    assert report.is_complete is is_complete


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={"stages": JSON | st.lists(st.text()), "current": JSON, "value": JSON, "meta": JSON},
)


@given(
    st.binary()
    | st.binary().map(PREFIX.__add__)
    | st.builds(
        lambda state, payload: PREFIX + json.dumps({"state": state, "payload": payload}).encode(),
        st.sampled_from(["loading", "ready", "sleeping"]),
        PAYLOADS | JSON,
    )
)
def test_no_bytes_raise_and_every_report_is_within_its_limits(line: bytes) -> None:
    report = read_report_line(line)

    match report:
        case LoadingReport():
            assert 0.0 <= report.value <= 1.0
            assert 0.0 <= report.fraction <= 1.0
        case ReadyReport(n_ctx=n_ctx):
            assert n_ctx is None or n_ctx > 0
        case None:
            pass


@given(st.text())
def test_no_text_raises(line: str) -> None:
    read_report_line(line)
    read_report_line("cmd_child_to_router:state:" + line)
