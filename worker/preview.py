"""What would go upstream for a request, without sending it: for ``arriero explain --request``."""

import time

from msgspec.structs import replace

from arriero.protocol.lease import PreviewOrder, PreviewOutcome

from .accounting.account import open_account
from .apis.model_names import ModelNames
from .apis.routes import BY_BODY, ROUTES
from .errors import RelayError, UnknownPath
from .http.request_head import parse_head
from .http.tracing import RANDOM_BYTES, start_trace
from .json.spans import finish
from .relay.detours import changes_of
from .relay.model_request import led_to, read_request, way_of
from .upstreams.request import RequestOptions, edit_body


def preview(names: ModelNames, order: PreviewOrder) -> PreviewOutcome:
    """Return what would go upstream.

    A selector's first target stands for it: which one it would be depends on what runs. What is
    asked for in the client's name by the kind of a server that runs is left out.
    """
    try:
        return _preview(names, order)
    except RelayError as error:
        return PreviewOutcome(ask=order.ask, problem=str(error))


def _preview(names: ModelNames, order: PreviewOrder) -> PreviewOutcome:
    body = order.body.encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in order.headers)
    head = parse_head(
        f"POST {order.path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {len(body)}\r\n{lines}\r\n".encode()
    )
    way = ROUTES.find(head.path)
    if way is None:
        raise UnknownPath(f"cannot ask a model at {order.path[:80]!r}: there is no such route")
    if head.path == BY_BODY:
        way = way_of(names, body)
    trace = start_trace(head.own, bytes(RANDOM_BYTES))
    account = open_account(
        request_id=trace.request_id, path=head.path, api=way.api, now=0.0, t=time.time()
    )
    request = read_request(names, head, way, body, None, None, account, trace)
    if request.detour is not None and (name := request.detour.selector) is not None:
        found = next(one for one in names.config.selectors if one.selector == name)
        request = led_to(request, names.find_chosen(found.targets[0]), account)
    request = replace(request, body=finish(changes_of(request, names.rules)))
    kind = request.route.kind or (request.peer.kind if request.peer is not None else "unknown")
    path = request.target.partition(b"?")[0]
    options = RequestOptions(api=request.api, stream=request.stream)
    edited = edit_body(request.body, request.route, kind, path, options)
    return PreviewOutcome(
        ask=order.ask,
        model=request.route.model,
        path=request.target.decode("latin-1"),
        body=edited.body.decode(errors="replace"),
        is_changed=edited.body != body,
    )
