"""The page on scripting shows the messages as they are."""

import json
import re
from typing import get_args

import msgspec
import pytest

from arriero.protocol import events
from arriero.protocol.codec import encode
from arriero.protocol.control.messages import AnyReply, AnyRequest
from tests.paths import CONTROL_DOCS

PAGE = CONTROL_DOCS.read_text()
EXAMPLES = re.findall(r"<!-- json: (\w+) -->\n```json\n(.*?)```", PAGE, re.DOTALL)
MESSAGES = {
    kind.__name__: kind
    for union in (AnyRequest, AnyReply, events.AnyEvent)
    for kind in get_args(union)
}


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_has_exactly_the_members_of_its_message(name: str, example: str) -> None:
    message = msgspec.json.decode(example, type=MESSAGES[name], strict=True)

    assert json.loads(encode(message)) == json.loads(example)


def test_every_message_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == set(MESSAGES)


def test_every_json_fence_is_tested() -> None:
    assert PAGE.count("```json") == len(EXAMPLES)
