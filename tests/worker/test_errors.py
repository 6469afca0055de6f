import pytest

from arriero.worker.errors import (
    BadRequest,
    LoadFailed,
    RelayError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownModel,
    UpstreamAnsweredError,
    UpstreamDied,
    UpstreamSilent,
    anthropic_error,
)


def answered(status: int, kind: str) -> UpstreamAnsweredError:
    return UpstreamAnsweredError("no", upstream_status=status, kind=kind, code="x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("no"), "invalid_request_error"),
        (Unauthorized("no"), "authentication_error"),
        (UnknownModel("no"), "not_found_error"),
        (TooLarge("no"), "request_too_large"),
        (LoadFailed("no"), "api_error"),
        (Unavailable("no"), "overloaded_error"),
        (UpstreamDied("no"), "api_error"),
        (UpstreamSilent("no"), "timeout_error"),
        # of an upstream: its own word if Anthropic has that, else what its status means
        (answered(400, "rate_limit_error"), "rate_limit_error"),
        (answered(500, "overloaded_error"), "overloaded_error"),
        (answered(503, "server_error"), "overloaded_error"),
        (answered(403, "upstream_error"), "permission_error"),
        (answered(429, "exceed_context_size_error"), "rate_limit_error"),
        (answered(501, "not_supported_error"), "api_error"),
        (answered(200, "upstream_error"), "api_error"),
    ],
)
def test_anthropic_s_type_goes_by_the_status(error: RelayError, kind: str) -> None:
    assert anthropic_error(error) == {"type": "error", "error": {"type": kind, "message": "no"}}
