"""Signatures against the values that Amazon has published.

Sources: "aws-sig-v4-test-suite" (folders by the names below), and the example of the "AWS General
Reference" (IAM, ListUsers).
"""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.upstreams.aws_sigv4 import Credentials, read_credentials, region_of, sign

ACCESS, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SESSION = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPf"
    "IeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7W"
    "Z0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8F"
    "DrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
HOST = (b"Host", b"example.amazonaws.com")
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")


def authorization(
    method: bytes = b"GET",
    target: bytes = b"/",
    *fields: tuple[bytes, bytes],
    body: bytes = b"",
    session: str = "",
    service: str = "service",
) -> bytes:
    added = sign(
        Credentials(ACCESS, SECRET, session),
        region="us-east-1",
        service=service,
        method=method,
        target=target,
        fields=fields or (HOST,),
        body=body,
        now=NOW,
    )
    return dict(added)[b"Authorization"]


@pytest.mark.parametrize(
    ("target", "signature"),
    [
        (b"/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),  # get-vanilla
        (  # get-vanilla-query-order-key-case
            b"/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (  # get-vanilla-query-order-value
            b"/?Param1=value2&Param1=value1",
            "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
        ),
        (  # get-unreserved
            b"/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (  # get-utf8
            "/\u1234".encode(),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (  # get-space
            b"/example space/",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
    ],
)
def test_a_target_is_signed_as_in_amazons_test_suite(target: bytes, signature: str) -> None:
    assert authorization(b"GET", target) == (
        b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        b"SignedHeaders=host;x-amz-date, Signature=" + signature.encode()
    )


def test_a_field_is_signed_as_in_amazons_test_suite() -> None:  # get-header-value-trim
    trimmed = ((b"My-Header1", b" value1"), (b"My-Header2", b' "a   b   c"'))

    assert authorization(b"GET", b"/", HOST, *trimmed).endswith(
        b"SignedHeaders=host;my-header1;my-header2;x-amz-date, "
        b"Signature=acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"
    )


def test_a_body_is_signed_as_in_amazons_test_suite() -> None:  # post-x-www-form-urlencoded
    assert authorization(b"POST", b"/", HOST, FORM, body=b"Param1=value1").endswith(
        b"SignedHeaders=content-type;host;x-amz-date, "
        b"Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    )


def test_a_session_is_signed_as_in_amazons_test_suite() -> None:  # post-sts-header-before
    assert authorization(b"POST", session=SESSION).endswith(
        b"SignedHeaders=host;x-amz-date;x-amz-security-token, "
        b"Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


def test_another_service_is_signed_as_in_the_reference() -> None:
    typed = (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")
    target = b"/?Action=ListUsers&Version=2010-05-08"

    assert authorization(
        b"GET", target, (b"Host", b"iam.amazonaws.com"), typed, service="iam"
    ).endswith(b"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")


def test_an_escaped_path_is_escaped_again_as_in_amazons_test_suite() -> None:  # double-encode-path
    host = (b"Host", b"tj9n5r0m12.execute-api.us-east-1.amazonaws.com")

    assert authorization(b"POST", b"/test/@connections/JBDvjfGEIAMCERw%3D", host).endswith(
        b"Signature=6f871eb157f326fa5f7439eb88ca200048635950ce7d6037deda56f0c95d4364"
    )


@pytest.mark.parametrize(
    ("written", "meant"), [(b"a=%7e", b"a=~"), (b"%61=b", b"a=b"), (b"a", b"a=")]
)
def test_a_query_means_the_same_in_any_spelling(written: bytes, meant: bytes) -> None:
    assert authorization(b"GET", b"/?" + written) == authorization(b"GET", b"/?" + meant)


def test_what_is_added_says_when_and_who_but_not_the_secret() -> None:
    added = sign(
        Credentials(ACCESS, SECRET, "token"),
        region="eu-west-1",
        service="bedrock",
        method=b"POST",
        target=b"/",
        fields=[HOST],
        body=b"{}",
        now=NOW + 0.9,
    )

    assert [name for name, _ in added] == [b"X-Amz-Date", b"X-Amz-Security-Token", b"Authorization"]
    assert (added[0][1], added[1][1]) == (b"20150830T123600Z", b"token")
    assert SECRET.encode() not in b"".join(value for _, value in added)
    assert SECRET not in repr(Credentials(ACCESS, SECRET, SESSION))
    assert SESSION not in repr(Credentials(ACCESS, SECRET, SESSION))


@pytest.mark.parametrize(
    ("key", "credentials"),
    [
        ("a:b", Credentials("a", "b")),
        ("a:b/+=:c:d==", Credentials("a", "b/+=", "c:d==")),
        ("bedrock-api-key-abc=", None),
    ],
)
def test_a_key_is_a_pair_a_triple_or_a_token(key: str, credentials: Credentials | None) -> None:
    assert read_credentials(key) == credentials


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-0a-b.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("bedrock-runtime.example", None),
        ("us-east-1.amazonaws.com", None),
        ("localhost", None),
    ],
)
def test_a_host_of_bedrock_says_its_region(host: str, region: str | None) -> None:
    assert region_of(host) == region


@given(st.binary(max_size=60), st.text(max_size=20))
def test_anything_can_be_signed(target: bytes, session: str) -> None:
    assert authorization(b"POST", target, session=session).startswith(b"AWS4-HMAC-SHA256 Cred")
