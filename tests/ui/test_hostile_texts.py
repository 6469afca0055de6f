"""Texts that strangers choose, through every view: shown, and nothing else comes of them."""

import json
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from trains import Train, eventually

from arriero.supervisor.config.schema.model_types import is_name
from tests.ui.browser import OpenedPage
from tests.ui.conftest import OpensPage, config_of, scripted
from tests.ui.hostile_texts import HOSTILE_TEXTS

pytestmark = [pytest.mark.e2e, pytest.mark.page, pytest.mark.timeout(300)]

# As they may stand in a configuration; and those of them that a model may be called: no macros.
WRITTEN = [text.replace("\0", "") for text in HOSTILE_TEXTS]
NAMES = [text for text in WRITTEN if is_name(text) and "${" not in text]

# Nothing of this is ever made by the page, with what strangers say or without.
ALIEN = (
    "main :is(script, iframe, base, link, meta, style, math, template, object, embed, body), "
    "main svg script, main [srcdoc], main a[href^='javascript:' i], main a[href^='data:' i], "
    "main :is([onerror], [onload], [ontoggle], [onfocus], [onclick]), main form[action]"
)


# What is wider than the screen.
WIDE = """() => [...document.querySelectorAll("main *")]
  .filter((it) => it.getBoundingClientRect().right > innerWidth)
  .map((it) => `${it.tagName}.${it.className} in ${it.parentElement.className}`).slice(0, 8)"""


class Parrot(BaseHTTPRequestHandler):
    """A model's server that says in every place what it was asked."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][-1]["content"]
        call = {"index": 0, "id": text, "function": {"name": text, "arguments": text}}
        deltas: list[dict[str, Any]] = [
            {"role": "assistant", "reasoning_content": text},
            {"content": text},
            {"tool_calls": [call]},
        ]
        chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        said = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        if asked.get("temperature") == 2:
            said = json.dumps({"error": {"message": text, "type": text, "code": text}})
        self.send_response(400 if asked.get("temperature") == 2 else 200)
        kind = "application/json" if asked.get("temperature") == 2 else "text/event-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(said.encode())))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def parrot() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Parrot) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def train(
    start_ui_train: Callable[..., Train], parrot: str, tmp_path_factory: pytest.TempPathFactory
) -> Train:
    lines = tmp_path_factory.mktemp("lines") / "lines"
    lines.write_text("".join(f"{text}\n" for text in HOSTILE_TEXTS))
    config = config_of(len(WRITTEN), captureBuffer=20)
    for model, text in zip(config["models"].values(), WRITTEN, strict=True):
        model |= {"name": text, "description": text}
    config["models"]["noisy"] = {"cmd": said_first(lines, "--name", "noisy")}
    config["models"]["dead"] = {"cmd": said_first(lines, "--exit-code", "3", "--die-at-s", "0")}
    config["models"]["parrot"] = {"proxy": parrot}
    for name in NAMES:
        config["models"][name] = {"cmd": scripted()}
    return start_ui_train(config)


def said_first(lines: Path, *options: str) -> str:
    """Return the command of a scripted model that first writes what is in a file."""
    return f"sh -c 'cat {lines} >&2; exec {scripted(*options)}'"


def look(page: OpenedPage, title: str) -> None:
    """Fail if anything has come of a text."""
    assert page.page.title() == f"{title} · arriero"
    assert page.page.locator(ALIEN).count() == 0
    assert page.overflow() <= 0, page.run(WIDE)


def shown(text: str) -> str:
    """Return a text as HTML and its blanks leave it."""
    return " ".join(text.split())


def test_names_of_models_are_only_shown(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, width=360).live()
    ids = page.page.locator(".model").evaluate_all("all => all.map(it => it.dataset.model)")
    assert set(NAMES) <= set(ids)
    titles = page.page.locator(".model .title").all_text_contents()
    assert {*WRITTEN, *NAMES} <= set(titles)
    assert set(WRITTEN) <= set(page.page.locator(".model .about").all_text_contents())
    for place in range(0, len(ids), 7):  # details as well
        page.page.locator(".model .toggle").nth(place).click()
    page.page.locator(".model .lines:not(:empty)").first.wait_for()
    look(page, "Train")

    page = open_page(train, f"/ui/memory?load={NAMES[0]}", width=360).live()
    options = page.page.get_by_label("Choose a model").locator("option")
    options.nth(len(NAMES)).wait_for(state="attached")
    assert set(NAMES) <= set(options.evaluate_all("all => all.map(it => it.value)"))
    look(page, "Memory")


def test_what_a_server_writes_is_only_shown(open_page: OpensPage, train: Train) -> None:
    assert train.ask("swap", model="noisy")["ok"]
    page = open_page(train, "/ui/logs/noisy", width=360).live()
    page.page.locator(".line", has_text="listening on").wait_for()
    lines = page.page.locator(".line").all_text_contents()
    assert lines[: len(HOSTILE_TEXTS) - 2] == list(HOSTILE_TEXTS[:-2])
    assert lines[len(HOSTILE_TEXTS) - 2] == "gnp.evil x red"  # what turns and colours is left out
    look(page, "Logs")


def test_decisions_are_only_words(open_page: OpensPage, train: Train) -> None:
    for text in NAMES:
        assert train.chat(f"{text} ").status_code == 404
    train.ask("swap", model="dead", wait=False)
    eventually(lambda: train.model("dead")["error"])
    page = open_page(train, "/ui/decisions", width=360).live()
    page.page.locator("[data-entry=failure]").first.wait_for()
    refusals = page.page.locator("[data-entry=refusal]")
    refusals.nth(len(NAMES) - 1).wait_for()
    told = [shown(text) for text in refusals.all_text_contents()]
    for text in NAMES:
        assert any(shown(text) in one for one in told), text
    look(page, "Decisions")


def test_requests_are_only_shown(open_page: OpensPage, train: Train) -> None:
    for text in (*WRITTEN, *HOSTILE_TEXTS[-2:]):
        train.chat(f"no {text}")
    body = {
        "model": "parrot",
        "user": WRITTEN[0],
        "messages": [{"role": "user", "content": text} for text in HOSTILE_TEXTS],
    }
    done = httpx.post(f"{train.url}/v1/chat/completions", json=body, timeout=60)
    assert done.status_code == 200
    page = open_page(train, "/ui/requests", width=360).live()
    captured = page.page.locator(f'tr[data-request="{done.headers["x-request-id"]}"]')
    captured.wait_for()
    captured.get_by_role("button").click()
    page.page.locator(".capture summary").first.click()
    kept = page.page.locator(".capture pre").first.text_content() or ""
    for text in HOSTILE_TEXTS[:-1]:
        assert json.dumps(text, ensure_ascii=False)[1:-1] in kept, text
    for place in range(5):
        page.page.locator('tr[data-outcome="rejected"] button').nth(place).click()
    page.page.locator(".record-detail").nth(5).wait_for()
    look(page, "Requests")


def test_the_configuration_is_only_shown(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/configuration", width=360).live()
    page.page.locator(".source li").first.wait_for()
    source = page.page.locator(".source").first.text_content() or ""
    for text in NAMES:
        forms = (text, text.replace("'", "''"), json.dumps(text)[1:-1])  # as YAML quotes it
        assert any(form in source for form in forms), text
    look(page, "Configuration")


def test_an_answer_is_only_shown(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/playground?model=parrot", width=360, expects=("400",)).live()
    page.until("document.querySelector('main select').value === 'parrot'")
    options = page.page.locator("main select").first.locator("option")
    assert set(NAMES) <= set(options.evaluate_all("all => all.map(it => it.value)"))
    page.page.get_by_text("Settings").click()
    message = page.page.get_by_label("Message")
    for count, text in enumerate((*WRITTEN, WRITTEN[0]), start=1):
        if count > len(WRITTEN):  # an error that says the same
            page.page.get_by_label("Temperature").fill("2")
        message.fill(text)
        message.press("Enter")
        page.page.locator(".turn").nth(2 * count - 1).wait_for()
        page.page.get_by_role("button", name="Send", exact=True).wait_for()
    said = [shown(text) for text in page.page.locator(".turn").all_text_contents()]
    for place, text in enumerate(WRITTEN):
        assert said[2 * place].count(shown(text)) == 1, text
        assert said[2 * place + 1].count(shown(text)) >= 3, text
    assert shown(WRITTEN[0]) in said[-1]
    look(page, "Playground")
