"""What is kept of a request, without what lets somebody in."""

from arriero.worker.accounting.account import open_account
from arriero.worker.accounting.capture import ResponseRecorder
from arriero.worker.apis.routes import CHAT
from arriero.worker.http.request_head import parse_head

SECRET = (
    b"Cookie Authorization Proxy-Authorization X-Auth Authentication apikey x-authtoken X-Api-Key "
    b"X-Amz-Security-Token X-Passwd X-Access-Jwt X-CSRF Ocp-Apim-Subscription-Key"
).split()
SHOWN = b"X-Session-Id X-Author Accept".split()


def test_no_field_that_lets_in_is_kept() -> None:
    lines = b"".join(b"%b: v4lue\r\n" % name for name in (*SECRET, *SHOWN))
    head = parse_head(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%b\r\n" % lines)
    account = open_account(request_id="r", path=head.path, api=CHAT, now=0.0, t=0.0)

    kept = ResponseRecorder(10).capture(account, "caller", head, b"").request_fields

    said = {name.lower() for name, value in kept if "v4lue" in value}
    assert said == {name.decode().lower() for name in SHOWN}
