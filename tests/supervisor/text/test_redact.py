import json
import shlex
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.text.redact import HIDDEN, masked_command, masked_text

# Letters that the places below do not have: a secret is in the output only if it was let through.
LETTERS = "QXZ0123456789"
SECRETS = st.text(f"{LETTERS} \n'\"\\=:,;$@/-_.ß", min_size=3).map(lambda text: f"Q{text}Z")
WORDS = st.text(LETTERS, min_size=16)
URL_WORDS = st.text(f"{LETTERS}-._~!$&'()*+,;=%:", min_size=3).map(lambda text: f"Q{text}Z")
TOKENS = st.text(f"{LETTERS}-._~+/", min_size=3).map(lambda text: f"Q{text}Z")


def masked(*words: str) -> str:
    return " ".join(masked_command(words))


# --- what is hidden -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("llama-server", "--api-key", "{}", "-m", "x"),
        ("llama-server", "--api_key", "{}"),
        ("llama-server", "--api-key={}"),
        ("llama-server", "-hft", "{}"),
        ("llama-server", "--hf-token", "{}"),
        ("llama-server", "--token", "{}"),
        ("server", "--password", "{}"),
        ("server", "--apiKey", "{}"),
        ("server", "--pass", "{}"),
        ("server", "--passwd", "{}"),
        ("server", "--passphrase", "{}"),
        ("server", "--bearer", "{}"),
        ("server", "--keys", "{}"),
        ("server", "--client-secret", "{}"),
        ("server", "--credentials", "{}"),
        ("server", "--gradio-auth", "{}"),
        ("env", "API_TOKENS={}"),
        ("env", "MY_PASSPHRASE={}"),
        ("env", "CREDENTIALS={}"),
        ("env", "BEARER={}"),
        ("env", "HF_TOKEN={}", "llama-server"),
        ("docker", "run", "-e", "DB_PASSWORD={}"),
        ("docker", "run", "--env=OPENAI_API_KEY={}"),
        ("docker", "run", "--env=my.secret={}"),
        ("curl", "-H", "X-Api-Key: {}"),
        ("curl", "-H", "Authorization: Bearer {}"),
        ("curl", "-H", "Authorization: Basic {}"),
        ("curl", "-H", "Authorization: {}"),
    ],
)
@given(secret=SECRETS)
def test_a_secret_that_is_named_is_never_shown(words: tuple[str, ...], secret: str) -> None:
    shown = masked(*(word.replace("{}", secret) for word in words))

    assert secret not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "script",
    [
        "exec env HF_TOKEN={} llama-server -m /m.gguf",
        "exec llama-server --api-key {} -m /m.gguf",
        "exec llama-server '--api-key' {} -m /m.gguf",
        "exec llama-server --api-key={} -m /m.gguf",
        "exec llama-server -hft {} -m /m.gguf",
    ],
)
@given(secret=SECRETS)
def test_a_secret_in_a_script_is_never_shown(script: str, secret: str) -> None:
    quoted = shlex.quote(secret)

    shown = masked("sh", "-c", script.replace("{}", quoted))

    assert secret not in shown
    assert quoted not in shown
    assert shown.startswith("sh -c exec ")
    assert shown.endswith("-m /m.gguf")


@given(SECRETS)
def test_a_secret_in_json_is_never_shown(secret: str) -> None:
    text = json.dumps({"n": 1, "api_key": secret, "top_k": 4})

    assert json.dumps(secret)[1:-1] not in masked_text(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:{}@host:80/x",
        "https://{}@host",
        "--proxy=http://user:{}@host",
        "see http://user:{}@host or not",
        "https://host/x?api_key={}&y=1",
    ],
)
@given(secret=URL_WORDS)
def test_a_secret_in_a_url_is_never_shown(url: str, secret: str) -> None:
    shown = masked_text(url.replace("{}", secret))

    assert secret not in shown
    assert "host" in shown


@given(TOKENS)
def test_a_bearer_token_is_hidden_wherever_it_stands(secret: str) -> None:
    assert masked_text(f"and so on, bearer {secret}") == f"and so on, bearer {HIDDEN}"


@pytest.mark.parametrize(
    "form", ["hf_{}", "sk-{}", "sk-proj-{}", "ghp_{}", "github_pat_{}", "glpat-{}", "xoxb-{}"]
)
@given(secret=WORDS)
def test_a_secret_that_is_known_by_its_form_is_hidden(form: str, secret: str) -> None:
    for place in ("{}", "/x/{}", "{},b", "a {} b", "x={}"):
        assert secret not in masked("run", place.replace("{}", form.replace("{}", secret)))


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "llama-server --port ${PORT} -m /m/qwen3-8b-q4_k_m.gguf -ngl 99 --api-key-file /etc/keys",
        "llama-server --api-key-file=/etc/keys --ssl-key-file /k --ssl-cert-file /c",
        "llama-server --image-max-tokens 4 --tts-use-guide-tokens -m /m.gguf",
        "llama-server --override-kv tokenizer.ggml.add_bos_token=bool:false",
        "llama-server -hf user/monkey-7b:Q4_K_M --lora-scaled /m/key.gguf:0.5",
        "llama-server --cache-type-k q8_0 --keep 4",
        "vllm serve org/Model --max-num-batched-tokens=8192 --tokenizer x --ssl-keyfile=/k",
        "docker run -e API_KEY_FILE=/run/secrets/k -v /m:/m -p 80:8000 image:1.2",
        "run http://host:80/a@b sk-short hf_transfer user@host",
    ],
)
def test_what_is_no_secret_is_shown(command: str) -> None:
    assert masked(*command.split()) == command


def test_only_the_secret_is_hidden() -> None:
    assert masked_command(("a", "--api-key", "x", "--port", "1", "B_KEY=y", "c")) == (
        "a", "--api-key", HIDDEN, "--port", "1", f"B_KEY={HIDDEN}", "c",
    )  # fmt: skip
    assert masked_text("run A_KEY=x B=y --token 'z z' -m m") == (
        f"run A_KEY={HIDDEN} B=y --token {HIDDEN} -m m"
    )
    assert masked_text("http://u:p@h:80/x") == f"http://{HIDDEN}@h:80/x"


@given(st.lists(st.text()))
def test_any_command_can_be_shown_with_as_many_words(words: list[str]) -> None:
    assert len(masked_command(words)) == len(words)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "a" * n,
        lambda n: "key" * n,
        lambda n: "-" * n,
        lambda n: "key=" * n,
        lambda n: "key " * n,
        lambda n: "key=" + "\\" * n,
        lambda n: 'key="' * n,
        lambda n: "key : " * n,
        lambda n: "://" + "a@" * n,
        lambda n: "authorization: " * n,
        lambda n: "eyJ" + ".aaaaaaaa" * n,
        lambda n: "a" + " " * n + "b",
        lambda n: "key" + " " * n + "=",
    ],
)
def test_the_longest_word_that_macros_can_make_is_no_burden(make: Callable[[int], str]) -> None:
    masked_text(make(250_000))
