"""What a request asks of its upstream, besides what its client has written."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import ModelRoute, Timeouts

from ..apis.base.api import Api
from ..json.edit import Edited, edit
from ..json.spans import Member
from .extra_options import asks_for_progress, asks_for_usage


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to the upstream.

    Attributes:
        head: With its blank line.
        body: Empty if it comes from somewhere else.
        parts: What is sent in the place of `body`, if there are any.
        asked_usage, asked_progress: It asks for these in the client's name.
        timeouts: Of the connection.
        head_s: Seconds for the head of the answer.
        expect_s: So long the upstream is given to let its body come, or refuse it; 0 sends it at
            once.
    """

    head: bytes
    body: bytes
    asked_usage: bool
    asked_progress: bool
    timeouts: Timeouts
    head_s: float
    expect_s: float = 0.0
    parts: Sequence[bytes | memoryview] = ()


class RequestOptions(NamedTuple):
    """What is wanted of an answer.

    Attributes:
        api: The API in which it comes.
        stream: It is a stream.
        usage: It has to tell its usage, whatever the configuration says.
        progress: It has to tell of the prompt, if it can.
    """

    api: Api
    stream: bool
    usage: bool = False
    progress: bool = False


def edit_body(
    body: bytes,
    route: ModelRoute,
    kind: UpstreamKind,
    path: bytes,
    options: RequestOptions,
    members: Sequence[Member] | None = None,
) -> Edited:
    """Return the body for an upstream of that kind.

    Args:
        body: JSON, as the client wrote it.
        route: The model.
        kind: What answers.
        path: Where it is asked, without the query.
        options: What is wanted.
        members: Of a long body: where its members are.
    """
    return edit(
        body,
        model=route.send_as,
        usage=options.usage
        or asks_for_usage(route.usage, kind, options.api, stream=options.stream),
        progress=options.progress and asks_for_progress(kind, path, stream=options.stream),
        members=members,
    )
