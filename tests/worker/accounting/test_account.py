"""Whatever an upstream says of its answer, there is a record of the request, and it travels."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.codec import encode, read_from_worker
from arriero.protocol.lease import Finished
from arriero.protocol.records import LEAST_USD, MAX_USD, Prices
from arriero.worker.accounting.account import open_account
from arriero.worker.accounting.record import make_record
from arriero.worker.accounting.response_reader import read_frames, read_response
from arriero.worker.accounting.usage_headers import trailer_lines, usage_lines
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.routes import APIS

COUNTS = [
    "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "input_tokens",
    "accepted_prediction_tokens", "rejected_prediction_tokens", "output_tokens", "prompt_n",
    "cache_read_input_tokens", "cache_creation_input_tokens", "predicted_n", "cache_n",
    "prompt_ms", "predicted_ms", "draft_n", "draft_n_accepted", "time_to_first_token_ms",
    "mean_itl_ms", "num_draft_tokens", "num_accepted_draft_tokens", "total", "cache",
    "promptTokenCount", "inputTokens", "outputTokens",
]  # fmt: skip
DETAILS = [
    "prompt_tokens_details", "completion_tokens_details", "speculative_decoding", "cache_creation",
]  # fmt: skip
PLACES = [
    "usage", "timings", "metrics", "prompt_progress", "usageMetadata", "model", "choices", "error",
    "status", "stop_type", "response", "message", "type",
]  # fmt: skip

leaves = (
    st.integers(-5, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([5e-324, 1e308, 0.0, 1e-9, True, None, "x"])
)
counts = st.dictionaries(st.sampled_from(COUNTS), leaves, max_size=6)
nested = st.dictionaries(st.sampled_from(COUNTS + DETAILS), leaves | counts, max_size=6)
answers = st.dictionaries(
    st.sampled_from(PLACES), nested | leaves | st.lists(nested, max_size=2), max_size=5
)


@given(
    st.sampled_from(APIS),
    answers,
    st.booleans(),
    st.sampled_from([LEAST_USD, MAX_USD, Decimal(0), None]),
)
def test_there_is_a_record_whatever_an_upstream_says(
    api: Api, answer: dict[str, Any], stream: bool, price: Decimal | None
) -> None:
    account = open_account(request_id="r", path=b"/x", api=api, now=0.0, t=0.0)
    account.status = 200
    account.prices = Prices(input=price, output=price)
    said = json.dumps(answer).encode()

    if stream:
        read_frames(account, b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', 0.5)
        read_frames(account, b"data: %b\n\n" % said, 1.0)
        told = trailer_lines(account)
    else:
        read_response(account, said, 1.0)
        told = usage_lines(account)
    finished = Finished(records=(make_record(account, 2.0),))

    assert told.endswith(b"\r\n") or not told
    assert read_from_worker(encode(finished)) == finished
