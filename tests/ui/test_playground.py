"""The playground: what a person asks of models on the page."""

import ast
import json
import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from trains import Train, eventually

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf
from tests.ui.browser import HEIGHT
from tests.ui.conftest import OpensPage, config_of, scripted

pytestmark = [pytest.mark.e2e, pytest.mark.page, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; the slow model is ready when it is there."""
    return tmp_path_factory.mktemp("gates") / "gate"


@pytest.fixture(scope="module")
def shared(start_ui_train: Callable[..., Train], gate: Path) -> Train:
    config = config_of(1)
    slow = scripted("--name", "slow", "--report", "--load-gate", str(gate), "--chunks", "3")
    config["models"]["slow"] = {"cmd": slow, "aliases": ["slowest"]}
    config["models"]["broken"] = {
        "cmd": scripted("--load-s", "60", "--die-at-s", "0.1", "--exit-code", "3")
    }
    config["models"]["thinks"] = {"cmd": scripted("--name", "thinks", "--reasoning", "3")}
    return start_ui_train(config)


@pytest.fixture
def train(shared: Train, gate: Path) -> Generator[Train]:
    gate.unlink(missing_ok=True)
    yield shared.emptied()
    gate.touch()


def wait_until_chosen(page: Any, model: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("main select").first).to_have_value(model)


def send(page: Any, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_label("Message").press("Enter")


def test_an_answer_comes_after_a_bar(open_page: OpensPage, train: Train, gate: Path) -> None:
    page = open_page(train, "/ui/playground?model=slow").live().page
    wait_until_chosen(page, "slow")
    send(page, "hello <b>you</b>")

    page.locator(".wait [role=progressbar][aria-valuenow]").wait_for()
    assert "%" in page.locator(".wait").inner_text()
    gate.touch()
    answer = page.locator(".turn[data-role=assistant]")
    answer.get_by_text("3 tokens").wait_for()
    assert answer.locator("> .text").inner_text().split() == ["w1", "w2", "w3"]
    assert page.locator(".turn[data-role=user] .text").inner_text() == "hello <b>you</b>"
    assert page.locator(".wait").is_hidden()


def test_a_model_that_runs_is_chosen_or_the_one_of_that_alias(
    open_page: OpensPage, train: Train, gate: Path
) -> None:
    gate.touch()
    assert train.ask("swap", model="thinks")["ok"]
    page = open_page(train, "/ui/playground").live().page
    wait_until_chosen(page, "thinks")
    page.goto(f"{train.url}/ui/playground?model=slowest")
    wait_until_chosen(page, "slow")


def test_what_it_thinks_is_folded(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/playground?model=thinks").live().page
    wait_until_chosen(page, "thinks")
    send(page, "hello")
    answer = page.locator(".turn[data-role=assistant]")
    answer.get_by_text("5 tokens").wait_for()
    assert answer.locator("h2").inner_text() == "thinks"
    assert answer.locator("> .text").inner_text().split() == ["w1", "w2", "w3", "w4", "w5"]
    thoughts = answer.locator(".reasoning .text")
    assert thoughts.is_hidden()
    answer.get_by_text("Reasoning", exact=True).click()
    assert thoughts.inner_text().split() == ["w1", "w2", "w3"]


def test_a_long_answer_is_followed(open_page: OpensPage, train: Train) -> None:
    """Until somebody looks at what is above; where a message is written stays in sight."""
    page = open_page(train, "/ui/playground?model=m000").live().page
    wait_until_chosen(page, "m000")
    for number in range(1, 7):
        send(page, "hello\n" * 8)
        page.locator(".turn[data-role=assistant]").nth(number - 1).get_by_text(
            "5 tokens"
        ).wait_for()
    there = "innerHeight + scrollY >= document.documentElement.scrollHeight - 48 && scrollY > 0"
    assert page.evaluate(there)
    page.evaluate("scrollTo(0, 0)")
    box = page.get_by_label("Message").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= HEIGHT


def test_it_is_stopped_and_asked_again(open_page: OpensPage, train: Train, gate: Path) -> None:
    page = open_page(train, "/ui/playground?model=slow").live().page
    wait_until_chosen(page, "slow")
    send(page, "hello")
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("stopped").wait_for()
    eventually(lambda: train.model("slow")["in_flight"] == 0)

    gate.touch()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("3 tokens").wait_for()
    assert page.locator(".turn").count() == 2
    page.get_by_role("button", name="New chat").click()
    assert page.locator(".turn").count() == 0


def test_errors_are_told_in_their_place(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/playground?model=m000", expects=("404",)).live().page
    wait_until_chosen(page, "m000")
    page.get_by_text("Settings").click()
    page.get_by_label("Tools (JSON)").fill("{nothing")
    send(page, "hello")
    page.locator(".notice[data-kind=problem]").wait_for()
    page.get_by_label("Tools (JSON)").fill("")

    page.get_by_label("API", exact=True).select_option("messages")
    send(page, "hello")  # the scripted upstream does not have it
    page.locator(".turn .problem").get_by_text("File Not Found").wait_for()

    page.get_by_label("API", exact=True).select_option("completions")
    page.locator("main select").first.select_option("broken")
    send(page, "hello")
    turn = page.locator(".turn[data-role=assistant]").last
    turn.locator(".problem").get_by_text("exited with code 3").wait_for()
    turn.get_by_text("in all").wait_for()
    assert "first token" not in turn.inner_text()


def test_what_is_copied_can_be_run(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/playground?model=m000").live().page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=train.url)
    wait_until_chosen(page, "m000")
    hostile = """it's "quoted" \\ $HOME `id` \u2028 </script>"""
    page.get_by_label("Message").fill(hostile)
    copied = {}
    for how in ("curl", "Python"):
        page.get_by_text("Copy as").click()
        page.get_by_role("button", name=how).click()
        page.get_by_text("Copied.").last.wait_for()
        copied[how] = page.evaluate("navigator.clipboard.readText()")

    words = shlex.split(copied["curl"].replace("\\\n", " "))
    asked = json.loads(words[words.index("-d") + 1])
    assert asked["messages"] == [{"role": "user", "content": hostile}]
    tree = ast.parse(copied["Python"])
    call = next(it for it in ast.walk(tree) if isinstance(it, ast.Dict))
    assert ast.literal_eval(call) == asked


def test_two_texts_are_compared(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/playground/embeddings?model=m000").live().page
    wait_until_chosen(page, "m000")
    page.get_by_label("First text").fill("a")
    page.get_by_label("Second text").fill("b")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("1.0000").wait_for()
    page.get_by_text("4 dimensions").wait_for()

    page.get_by_role("button", name="Completion").click()
    page.get_by_label("Prompt").fill("once")
    page.get_by_role("button", name="Send").click()
    page.locator(".result .text").get_by_text("w1 w2").wait_for()


def test_a_real_server_answers_on_all_apis(
    open_page: OpensPage, start_ui_train: Callable[..., Train], tmp_path: Path
) -> None:
    binary = ensure_llama_server()
    write_tiny_gguf(tmp_path / "tiny.gguf", size="tiny")
    cmd = (
        f"{binary} --host 127.0.0.1 --port ${{PORT}} -m {tmp_path}/tiny.gguf -t 1 -c 512 --no-webui"
    )
    train = start_ui_train({"models": {"tiny": {"cmd": cmd}}})
    page = open_page(train, "/ui/playground").live().page
    wait_until_chosen(page, "tiny")
    page.get_by_text("Settings").click()
    page.get_by_label("Most tokens").fill("8")
    for number, api in enumerate(("completions", "messages", "responses"), 1):
        page.get_by_label("API", exact=True).select_option(api)
        send(page, "hello")
        answer = page.locator(".turn[data-role=assistant]").nth(number - 1)
        answer.get_by_text("8 tokens").wait_for()
        assert answer.locator(".problem").is_hidden(), answer.inner_text()
        assert answer.locator(".text").first.text_content() or answer.inner_text()
