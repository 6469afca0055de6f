"""The demo: two real models take turns, and the client is told how far they are.

    python tests/real/demo.py [--dir DIR] [--port N] [--cache DIR]

It fetches llama-server and two small models, starts ``arriero serve``, and asks both models with
the official OpenAI client. Then the server stays, for experiments of your own, until Ctrl-C. With
``DEMO_EXIT=1`` it ends by itself after the questions: 0 if all went well, 1 otherwise.
"""

import argparse
import contextlib
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that it runs as a script, too

from tests.official import openai
from tests.real.fetch import PartsError
from tests.real.parts import ensure_llama_server, ensure_models
from tests.real.server import DemoError, Server, running

MARKER = "swap-progress: "

ALIASES = {"smollm2-135m": "smol", "gemma-3-270m": "gemma"}

# This Gemma is the base model: it was not taught to chat and brings no template. In this form it
# answers, and goes on by asking itself; hence `_STOP`.
TEMPLATES = {
    "gemma-3-270m": "{% for message in messages %}Question: {{ message['content'] }}\n{% endfor %}"
    "Answer:",
}
_STOP = "\n"

QUESTION = "What is the capital of France? Answer in one short sentence."

# Seconds from the start of `arriero serve` until it answers.
_START_LIMIT_S = 30.0

# Seconds from a question to the end of its answer: a load from a slow disk and 40 tokens.
_ANSWER_LIMIT_S = 180.0

_MAX_TOKENS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one question.

    Attributes:
        progress: Lines of progress, without their ends.
        answer: What the model said.
        first_token_s: Seconds until the first of it.
    """

    progress: tuple[str, ...]
    answer: str
    first_token_s: float


class Stopped(BaseException):
    """Somebody sent SIGTERM or SIGHUP. Like KeyboardInterrupt, it is nobody's error."""


def make_config(
    binary: Path, models: Mapping[str, Path], templates: Mapping[str, Path], port: int
) -> str:
    """Return the text of the configuration: both models, with progress as reasoning."""

    def command(name: str, file: Path) -> str:
        words = [str(binary), "-m", str(file)]
        if name in templates:
            words += ["--chat-template-file", str(templates[name])]
        return f"{shlex.join(words)} --host 127.0.0.1 --port ${{PORT}} -c 2048 --no-webui"

    config = {
        "listen": f"127.0.0.1:{port}",
        "progress": "reasoning",
        "progressDelay": "0s",
        "models": {
            name: {"cmd": command(name, file), "aliases": [ALIASES[name]]}
            for name, file in models.items()
        },
    }
    return yaml.safe_dump(config, sort_keys=False, width=1000)


def choose_port(wanted: int = 8080) -> int:
    """Return `wanted` if nobody listens there, else a port that the system chooses."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise DemoError("cannot find a free port on 127.0.0.1")


def wait_until_up(server: Server, url: str, *, limit_s: float = _START_LIMIT_S) -> None:
    """Return once ``/health`` answers 200.

    Raises:
        DemoError: The server ended, or did not answer within `limit_s`.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if (code := server.exit_status()) is not None:
            raise DemoError(f"arriero ended with status {code} before it answered")
        with contextlib.suppress(OSError), direct.open(f"{url}/health", timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(0.05)
    raise DemoError(f"arriero did not answer {url}/health within {limit_s:.0f} s")


def ask(client: "openai.OpenAI", model: str, question: str) -> Outcome:
    """Ask `model` and show what comes, as it comes.

    Raises:
        DemoError: No line of progress came, or no answer, or an error instead.
    """
    print(f"\n{_bold(f'asking {model}')}: {question}", flush=True)
    began = time.monotonic()
    reasoning, answer, first_token_s = "", "", 0.0
    try:
        with client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=_MAX_TOKENS,
            temperature=0,
            stop=_STOP,
            stream=True,
        ) as stream:
            for chunk in stream:
                if time.monotonic() - began > _ANSWER_LIMIT_S:
                    raise DemoError(f"{model} took longer than {_ANSWER_LIMIT_S:.0f} s")
                if not chunk.choices:
                    continue
                delta = chunk.choices[0].delta
                if line := getattr(delta, "reasoning_content", None):
                    reasoning += line
                    print(_dim(f"{time.monotonic() - began:6.2f} s  {line.rstrip()}"), flush=True)
                if delta.content:
                    first_token_s = first_token_s or time.monotonic() - began
                    print(delta.content if answer else delta.content.lstrip(), end="", flush=True)
                    answer += delta.content
    except openai.OpenAIError as exc:
        raise DemoError(f"{model} was not answered for: {exc}") from exc
    print()
    progress = tuple(line for line in reasoning.splitlines() if MARKER in line)
    if not progress:
        raise DemoError(f"no line of progress ({MARKER!r}) came while {model} was loading")
    if not answer.strip():
        raise DemoError(f"{model} gave an empty answer")
    return Outcome(progress=progress, answer=answer, first_token_s=first_token_s)


def ask_both(url: str, models: Sequence[str]) -> None:
    """Ask one model after the other and sum up."""
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=_ANSWER_LIMIT_S
    ) as client:
        outcomes = {model: ask(client, model, QUESTION) for model in models}
    print()
    for model, outcome in outcomes.items():
        print(
            f"{model}: first token after {outcome.first_token_s:.2f} s, "
            f"{len(outcome.progress)} lines of progress before it"
        )


def show_commands(url: str, sockets: Path, pid: int) -> None:
    """Print what to copy and paste."""
    arriero = shlex.quote(os.path.relpath(_arriero()))
    body = '{"model":"smol","stream":true,"messages":[{"role":"user","content":"Hello!"}]}'
    print(
        f"\n{_bold('arriero answers at ' + url)} until you press Ctrl-C. Try:\n\n"
        f"  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'\n"
        f"  {arriero} swap smol --socket-dir {shlex.quote(str(sockets))}\n"
        f"  kill {pid}\n",
        flush=True,
    )


def run(args: argparse.Namespace, folder: Path) -> None:
    """Run the demo in `folder`; return when it is over.

    Raises:
        DemoError, PartsError: It did not go well.
    """
    began = time.monotonic()
    exits = os.environ.get("DEMO_EXIT") == "1"
    binary = ensure_llama_server(args.cache)
    models = ensure_models(args.cache)
    fetched = time.monotonic()
    port = choose_port(args.port)
    if port != args.port:
        print(f"port {args.port} is taken: using {port}")
    url = f"http://127.0.0.1:{port}"
    config = folder / "config.yaml"
    config.write_text(make_config(binary, models, _write_templates(folder), port))
    sockets = folder / "run"
    sockets.mkdir(mode=0o700, exist_ok=True)
    command = (str(_arriero(args.arriero)), "serve", "--config", str(config))
    with running((*command, "--socket-dir", str(sockets)), folder / "arriero.log") as server:
        wait_until_up(server, url)
        print(f"arriero serve: up after {time.monotonic() - fetched:.2f} s (config: {config})")
        ask_both(url, tuple(models))
        print(f"wall time: {time.monotonic() - began:.1f} s", flush=True)
        if not exits:
            show_commands(url, sockets, server.pid)
            if (code := server.wait()) not in {0, -signal.SIGTERM}:
                raise DemoError(f"arriero ended by itself with status {code}")
        elif not any("llama-server" in name for name in server.family()):
            raise DemoError("there is no llama-server among the children of arriero")
    if server.left:
        raise DemoError(f"left behind after the end of arriero: {', '.join(server.left)}")
    if exits:
        print("demo: all went well, nothing was left behind")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="default: a temporary folder")
    parser.add_argument("--port", type=int, default=8080, help="default: 8080")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where the parts lie")
    parser.add_argument("--arriero", type=Path, metavar="FILE", help="default: that of this Python")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        with _folder(args.dir) as folder:
            try:
                run(args, folder)
            except DemoError as exc:
                print(f"\ndemo: {exc}", file=sys.stderr)
                _show_log(folder / "arriero.log")
                return 1
    except PartsError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print("\ndemo: stopped", file=sys.stderr)
        return 1 if os.environ.get("DEMO_EXIT") == "1" else 0
    return 0


def _write_templates(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.jinja" for name in TEMPLATES}
    for name, file in files.items():
        file.write_text(TEMPLATES[name])
    return files


def _arriero(chosen: Path | None = None) -> Path:
    return chosen or Path(sys.executable).with_name("arriero")


@contextlib.contextmanager
def _folder(chosen: Path | None) -> Generator[Path, None, None]:
    """Give the folder of the demo; a temporary one is removed at the end."""
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="arriero-demo-") as name:
            yield Path(name)
    else:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen.resolve()


def _stop(signum: int, _frame: object) -> None:
    raise Stopped(signum)


def _show_log(log: Path, *, lines: int = 30) -> None:
    with contextlib.suppress(FileNotFoundError):
        last = log.read_text(errors="replace").splitlines()[-lines:]
        print("the last lines of arriero:", *last, sep="\n  ", file=sys.stderr)


def _dim(text: str) -> str:
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    sys.exit(main())
