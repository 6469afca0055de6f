"""Files as they are shown: the lines of the file, and no secret, wherever it was put."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.config.load import parse_config
from arriero.supervisor.config.shown.secrets import Secrets
from arriero.supervisor.config.shown.source_text import SourceText
from arriero.supervisor.errors import ConfigError

# Whatever is secret in it begins with s3cr, or is the hash.
HOSTILE = """\
# apiKeys of old: s3cr-note
apiKeys: [s3cr-apikeys, "s3cr-\\u0066low"]  # s3cr-note
x-base: &base
  apiKey: s3cr-anchor
x-more: {s3cr-key-of-map: s3cr-unknown}
clientKeys:
  laptop:
    hash: sha256:HASH
    scopes: [infer]
macros:
  plain: --ctx-size 4096
  tok: s3cr-macro
  inner: s3cr-nested
  hdr: "Authorization: Bearer ${inner}"
  old: s3cr-unused
headers:
  request:
    set: {X-Team: s3cr-header, X-Copy: "s3cr-\\x6cist"}
rules:
  - headers: {X-Who: s3cr-rule}
    set: {temperature: 0.5}
peers:
  far:
    proxy: https://bob:s3cr-user@far.example/v1
    apiKey: s3cr-peer
    models: [big]
models:
  qwen:
    <<: *base
    description: reads s3cr-apikeys aloud
    name: Qwen
    cmd: |
      # was --api-key s3cr-note
      llama-server --port ${PORT} ${plain} --api-key s3cr-option \\
        --hf-token \\
        s3cr-next-line
      --token=s3cr-equals --auth-header "Authorization: Bearer s3cr-bearer"
      sh -c "API_KEY=s3cr-shell exec it" --api-key ${tok} --header "${hdr}"
    cmdStop: stop --password s3cr-stop ${PID}
    proxy: http://127.0.0.1:${PORT}
    env:
      - "NAME=s3cr-env"
      - CUDA_VISIBLE_DEVICES=0
      - LLAMA_API_KEY=s3cr-in-cmd
    metadata: {label: blue, auth_token: s3cr-meta, link: "http://a/?token=s3cr-query"}
    filters:
      setParams: {api_key: s3cr-params, n: 5}
    ttl: 600
""".replace("HASH", "5" * 64)


def shown(text: str, *, others: str = "") -> str:
    secrets = Secrets()
    is_understood = True
    try:
        secrets.add_config(parse_config(text, environ={}, unknown="warnings"))
    except ConfigError:
        is_understood = False
    source = SourceText(text)
    for one in (source, SourceText(others)):
        one.learn(secrets)
    return source.shown(secrets, is_understood=is_understood)


def leaks(text: str) -> bool:
    return "s3cr" in text or "5" * 8 in text


def test_no_secret_is_shown() -> None:
    found = shown(HOSTILE)

    assert not leaks(found)
    for line in (
        "  qwen:\n",
        "    name: Qwen\n",
        "    ttl: 600\n",
        "    scopes: [infer]\n",
        "  plain: --ctx-size 4096\n",
        "      llama-server --port ${PORT} ${plain} --api-key *** \\\n",
        "      - CUDA_VISIBLE_DEVICES=***\n",
        "      setParams: {api_key: ***, n: 5}\n",
        "    proxy: https://***@far.example/v1\n",
        "    description: reads *** aloud\n",
    ):
        assert line in found, found
    assert found.count("\n") == HOSTILE.count("\n")


def test_no_secret_is_shown_of_a_broken_file() -> None:
    lines = HOSTILE.splitlines(keepends=True)
    for at in range(len(lines)):
        for broken in ("  \t]: [oops\n", "ttl: soon\n", 'x: "open\n'):
            text = "".join((*lines[:at], broken, *lines[at:]))
            found = shown(text)
            assert not leaks(found), (at, broken, found)
            assert found.count("\n") == text.count("\n"), (at, broken, found)


def test_of_what_cannot_be_read_names_of_keys_are_left() -> None:
    text = 'models:\n  a:\n    cmd: "open\n    ttl: 5\n  b: {secret}\n  - cmd: x\n'

    assert shown(text) == "models:\n  a:\n    cmd: …\n    ttl: …\n  …\n  - cmd: …\n"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("apiKeys:\n  - a-secret-1\n  # - a-secret-2\n", "apiKeys:\n  - ***\n  # …\n"),
        ("apiKeys: ['${env.KEY}']", "apiKeys: ['${env.KEY}']"),
        ("apiKeys: >\n  a-secret\n  in-lines\nworkers: 2", "apiKeys: ***\n\n\nworkers: 2"),
        ("peers: {p: {proxy: 'http://x/?api_key=tail'}}", "peers: {p: {proxy: 'http://x/?api_key=***'}}"),
        ("priceList: {url: 'https://x/feed-id'}", "priceList: {url: ***}"),
        ("models:\n  m:\n    cmd: s --hf-token abc", "models:\n  m:\n    cmd: s --hf-token ***"),
        ("models: {m: {cmd: \"s --token 'a b'\"}}", "models: {m: {cmd: \"s --token '***'\"}}"),
        ("models: {m: {cmd: 's --token a\\ b'}}", "models: {m: {cmd: ***}}"),
        ("typo: something", "typo: ***"),
        ("models: &all {m: {cmd: s}}\nx: *all\n%", "models: &all {m: {cmd: ***}}\n…\n…"),
        ("", ""),
        ("- 1\n- x", "- ***\n- ***"),
        ("just text", "***"),
    ],
)  # fmt: skip
def test_values_are_shown_by_where_they_stand(written: str, told: str) -> None:
    assert shown(written) == told


def test_what_is_secret_in_another_file_is_not_shown() -> None:
    text = "models:\n  m:\n    cmd: serve\n    description: one s3cr-elsewhere\n"

    assert "elsewhere" not in shown(text, others="apiKeys: [s3cr-elsewhere]\n")


@given(st.text(max_size=200))
def test_any_text_is_shown_somehow(text: str) -> None:
    assert isinstance(SourceText(text).shown(Secrets(), is_understood=False), str)


def test_long_files_are_shown_whole() -> None:
    text = "models:\n" + "".join(
        f"  m{n}:\n    cmd: serve --port ${{PORT}} --api-key key-number-{n}\n    ttl: 60\n"
        for n in range(300)
    )
    found = SourceText(text).shown(Secrets(), is_understood=True)

    assert "key-number" not in found
    assert (found.count("***"), found.count("\n")) == (300, 901)


def test_overlapping_secrets_are_all_hidden() -> None:
    secrets = Secrets()
    secrets.add(["abcdefgh", "efgh12345678", "x-y!", "word"])

    assert secrets.taken_out("1abcdefgh123456782 x-y!z word words") == "1***2 ***z *** words"
