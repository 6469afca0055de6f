"""Fetches one file, through redirects."""

from typing import Final
from urllib.parse import urljoin, urlsplit

from ..host.http_get import GetFailed, get, request_to

# From http to https, and from a bare name to one with www.
_MAX_REDIRECTS: Final = 2

_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "arriero",
}


class FetchFailed(GetFailed):
    """There is a response, and it is not the file."""


async def fetch(url: str, max_bytes: int) -> bytes:
    """Return the file at `url` (http or https). There is no time limit but the caller's.

    A redirect from https leads to https only.

    Raises:
        GetFailed: There was none, another status than 200, or more than `max_bytes`.
    """
    for _ in range(_MAX_REDIRECTS + 1):
        response = await get(request_to(url, _HEADERS), max_bytes)
        if response.is_cut:
            raise FetchFailed(f"it is larger than {max_bytes} bytes")
        if not response.redirect:
            if response.status != 200:
                raise FetchFailed(f"it answered with status {response.status}")
            if response.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}:
                raise FetchFailed("it came compressed, which was not asked for")
            return response.body
        url = _redirected(url, response.redirect)
    raise FetchFailed(f"it was moved more than {_MAX_REDIRECTS} times")


def _redirected(url: str, location: str) -> str:
    try:
        found = urljoin(url, location)
        is_safe = urlsplit(found).scheme == "https" or urlsplit(url).scheme == "http"
    except ValueError as exc:
        raise FetchFailed("it was moved to what is no URL") from exc
    if not is_safe:
        raise FetchFailed("it was moved from https to something else")
    return found
