import json
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import ModelRoute
from arriero.worker.apis import model_names as naming
from arriero.worker.apis.strip_progress import Stripper
from arriero.worker.errors import BadRequest
from arriero.worker.json.large_body import read_large
from arriero.worker.json.spans import find_members, finish
from arriero.worker.relay import handler as serving
from tests.worker.apis.test_strip_progress import _VALUES, LINE, assistant, user
from tests.worker.rig import OpenRig, post

stripper = Stripper(["swap-progress: "])

MIB = 1024**2


@given(st.lists(_VALUES, max_size=4), st.sampled_from(["messages", "input"]), st.booleans())
def test_a_long_history_is_stripped_like_a_short_one(
    items: list[Any], key: str, indented: bool
) -> None:
    body = json.dumps({"model": "m", key: items, "n": 1.0}, indent=2 if indented else None).encode()
    members = finish(find_members(body))

    found = finish(stripper.strip_large(body, members))

    wanted = stripper.strip(body)
    assert json.loads(found) == json.loads(wanted)
    assert (found is body) == (wanted is body)


def test_what_is_not_changed_of_a_history_stays_as_it_was_written() -> None:
    body = (
        b'{"model":"m", "messages": [ {"a":1.0} , %b,{"b" : 1E2}] ,"n": 1.50}'
        % json.dumps(assistant(reasoning=LINE + "own")).encode()
    )
    found = finish(stripper.strip_large(body, finish(find_members(body))))
    assert found == (
        b'{"model":"m", "messages": [{"a":1.0},'
        b'{"role":"assistant","content":"hello","reasoning":"own"},{"b" : 1E2}] ,"n": 1.50}'
    )


def test_an_outline_has_what_is_short() -> None:
    long = [user("x" * 200_000)]
    value = {"model": "m", "messages": long, "stream": True, "tools": [1], "text": "y" * 200_000}
    large = finish(read_large(json.dumps(value).encode(), stripper.strip_large))
    assert json.loads(large.outline) == value | {"messages": [], "text": ""}
    assert naming.read_body(large.outline) == naming.BodyFields("m", stream=True)


def test_an_outline_is_short_whatever_the_body_is() -> None:
    names = {f"{number}{'n' * 1000}": "x" * 1000 for number in range(900)}
    many = {f"a{number}": "x" * 1000 for number in range(900)}
    for value in (names, many):
        large = finish(read_large(json.dumps(value).encode(), stripper.strip_large))
        assert len(large.outline) < 150_000
        json.loads(large.outline)


@pytest.fixture(params=["as long ones", "as short ones"])
def lengths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "as long ones":
        monkeypatch.setattr(serving, "LARGE_BYTES", 0)


@pytest.mark.usefixtures("lengths")
async def test_long_bodies_are_treated_like_short_ones(open_rig: OpenRig) -> None:
    models = (
        ModelRoute(model="m", send_as="upstream's", kind="llama-server", usage="inject"),
        ModelRoute(model="another"),
    )
    async with open_rig(models=models) as rig:
        for body, sent in (
            (b'{"model":"m","x":[1.0]}', b'{"model":"upstream\'s","x":[1.0]}'),
            (
                json.dumps({"model": "m", "messages": [user("hi"), assistant(LINE)]}).encode(),
                json.dumps({"model": "upstream's", "messages": [user("hi")]}).encode(),
            ),
        ):
            answer = await rig.ask(post(body))
            assert answer.startswith(b"HTTP/1.1 200")
            exchange = rig.upstream.exchanges[-1]
            assert json.loads(exchange.body) == json.loads(sent)
        for body, message in (
            (b'{"model":"m","model":"n"}', "'model' more than once"),
            (b'{"model":"m","mod\\u0065l":"n"}', "'model' more than once"),
            (b'{"stream":true}', "has no 'model'"),
            (b'{"model":["m"]}', "'model' must be a text, found a list"),
            (b'["model"]', "cannot read the body"),
            (b'{"model":"m"', "cannot read the body as JSON"),
            (b'{"model":"nobody"}', "cannot find a model named 'nobody'"),
        ):
            answer = await rig.ask(post(body))
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
            assert message in answer.decode()


async def test_the_loop_goes_on_while_a_long_body_is_read(open_rig: OpenRig) -> None:
    """Rounds of the loop are counted, not seconds: other tasks run between any two steps."""
    body = b'{"model":"m","x":[%b0],"y":{"model":1}}' % (b"[]," * (4 * MIB // 3))
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await trio.lowlevel.checkpoint()

    async with open_rig() as rig:
        fairness_rounds: list[int] = []

        def noted(*args: Any) -> Any:
            fairness_rounds.append(rounds)
            result = yield from read_large(*args)
            fairness_rounds.append(rounds)
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("arriero.worker.relay.model_request.read_large", noted)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                answer = await rig.ask(post(body))
                nursery.cancel_scope.cancel()
        assert answer.startswith(b"HTTP/1.1 200")
        assert rig.upstream.exchanges[-1].body == body
        before, after = fairness_rounds
        assert after - before >= 10


def test_nesting_without_end_is_refused_or_passed_on_but_never_raised() -> None:
    for body in (b'{"model":"m","x":' + b"[" * 300_000, b'{"model":"m","x":' + b'{"":' * 100_000):
        with pytest.raises(BadRequest):
            finish(read_large(body, stripper.strip_large))
    deep = b'{"model":"m","messages":[{"role":"assistant","content":"%b","x":%b}]}' % (
        LINE.strip().encode(),
        b"[" * 100_000 + b"]" * 100_000,
    )
    assert finish(read_large(deep, stripper.strip_large)).body is deep
    assert stripper.strip(deep) is deep
