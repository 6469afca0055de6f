"""Amazon's Signature, version 4: a request -> the header fields that sign it.

Source: AWS General Reference, "Create a signed AWS API request".
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_ALGORITHM: Final = b"AWS4-HMAC-SHA256"

# bedrock-runtime.us-east-1.amazonaws.com, and what may stand before and after
_REGION: Final = re.compile(r"\bbedrock-runtime(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d+)\.")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs.

    Attributes:
        access: Id of the access key.
        secret: The access key. Never sent.
        session: Token of a session with an end; empty for none.
    """

    access: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


def read_credentials(key: str) -> Credentials | None:
    """Read ``access:secret`` or ``access:secret:session``; None if `key` is a bearer token."""
    access, colon, rest = key.partition(":")
    if not colon:
        return None
    secret, _, session = rest.partition(":")
    return Credentials(access, secret, session)


def region_of(host: str) -> str | None:
    """Return the region that the name of one of Bedrock's hosts says; None if it says none."""
    found = _REGION.search(host)
    return found[1] if found else None


def sign(
    credentials: Credentials,
    *,
    region: str,
    service: str,
    method: bytes,
    target: bytes,
    fields: Sequence[tuple[bytes, bytes]],
    body: bytes,
    now: float,
) -> list[tuple[bytes, bytes]]:
    """Return the fields that are to be added to a request.

    Args:
        credentials: Who signs.
        region: Where, such as ``us-east-1``.
        service: What is asked, such as ``bedrock``.
        method: Upper-case.
        target: Path and query as they are sent; without segments that are dots or empty, which
            the other side would leave out.
        fields: What is signed of the head, each name once. Has to have ``host``.
        body: What will follow.
        now: Unix time. The other side allows for five minutes.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ").encode()
    added = [(b"X-Amz-Date", stamp)]
    if credentials.session:
        added.append((b"X-Amz-Security-Token", credentials.session.encode()))
    lines = sorted((name.lower(), b" ".join(value.split())) for name, value in (*fields, *added))
    names = b";".join(name for name, _ in lines)
    path, _, query = target.partition(b"?")
    request = b"\n".join(
        (
            method,
            quote(path, safe="/~").encode(),
            _canonical_query(query),
            *(b"%b:%b" % line for line in lines),
            b"",
            names,
            _digest(body),
        )
    )
    scope_parts = (stamp[:8], region.encode(), service.encode(), b"aws4_request")
    scope = b"/".join(scope_parts)
    to_sign = b"\n".join((_ALGORITHM, stamp, scope, _digest(request)))
    key = b"AWS4" + credentials.secret.encode()
    for part in scope_parts:
        key = hmac.digest(key, part, "sha256")
    value = b"%b Credential=%b/%b, SignedHeaders=%b, Signature=%b" % (
        _ALGORITHM,
        credentials.access.encode(),
        scope,
        names,
        hmac.digest(key, to_sign, "sha256").hex().encode(),
    )
    return [*added, (b"Authorization", value)]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _canonical_query(query: bytes) -> bytes:
    pairs = []
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_escape(name), _escape(value)))
    return b"&".join(b"%b=%b" % pair for pair in sorted(pairs))


def _escape(text: bytes) -> bytes:
    return quote(unquote_to_bytes(text), safe="").encode()
