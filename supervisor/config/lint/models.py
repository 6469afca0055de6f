"""What is surely not meant in one model: a command that cannot work as it is."""

import os
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from ...llamacpp.api_key import API_KEY
from ...llamacpp.command import DEFAULT_PORT, ServerOptions, server_options
from ...text.addresses import unix_path
from ...text.redact import masked_text
from ..model_config import MODEL, PORT, ModelConfig
from ..schema.launcher_types import LauncherConfig
from .findings import Findings

# What a shell would take for its own, as words of their own. No `<x>`: templates are full of it.
_SHELL_SYNTAX: Final = re.compile(r"\|\|?|&&?|;|<|(?:\d|&)?>>?(?:&\d|[\w./~$-]*)")

# What is said of processes only, by fields.
_OF_PROCESSES: Final = (
    "concurrency_limit", "memory", "on_blocked", "pin", "save_slots", "sleep", "sleep_memory",
    "stop_command",
)  # fmt: skip

_CONTAINER_TOOLS: Final = frozenset({"docker", "podman", "nerdctl"})

# How many missing files of one model are told by name, and how much of a name.
_MAX_FILES: Final = 4
_SHOWN: Final = 200


class Disk(Protocol):
    """What is asked of the machine. Nothing is opened, and nothing raises."""

    def is_file(self, path: Path) -> bool:
        """Say whether there is a file; True, too, where that cannot be seen."""
        ...

    def is_program(self, name: str, path: str | None) -> bool:
        """Say whether `name` can be started.

        Args:
            name: As in a command.
            path: The value of PATH; None: that of this process.
        """
        ...


def check_model(model: ModelConfig, own_keys: Collection[str], disk: Disk, found: Findings) -> None:
    """Note what is not meant in `model`; `own_keys` are those that clients show to us."""
    env = dict(model.env)
    wanted = model.launch(1).wanted
    _check_key(model, wanted.key, own_keys, found)
    options = server_options(model.command, env)
    _check_shell(model, found)
    if model.is_elsewhere:  # what is there cannot be seen from here
        return
    _check_program(model, env, disk, found)
    _check_container(model, found)
    _check_slots(model, options, found)
    _check_sleep(model, options, found)
    if options is not None and model.scrape_metrics:
        _check_scraping(model, found)
    if options is None:
        _check_given_port(model, found)
        return
    _check_socket(model, options, found)
    _check_port(model, options, found)
    _check_host(model, options, found)
    _check_files(model, options, disk, found)
    if wanted.file and not disk.is_file(Path(wanted.file)):
        missing = _quoted(wanted.file)
        found.warn(("models", model.model, "cmd"), f"there is no file {missing} of keys")


def check_launcher(launcher: LauncherConfig, disk: Disk, found: Findings) -> None:
    """Note programs of a launcher that are not there."""
    at = ("launchers", launcher.launcher)
    for name, words in (("start", launcher.start), ("stop", launcher.stop)):
        if words and not disk.is_program(words[0], None):
            told = f"there is no program {_quoted(words[0])}{_no_shell(words[0])}"
            found.warn((*at, name), f"{told}; install it, or write its whole path")


def check_remote(model: ModelConfig, own_keys: Collection[str], found: Findings) -> None:
    """Note what is not meant in a model that nothing is started for."""
    at = ("models", model.model)
    if model.api_key in own_keys:
        found.warn((*at, "apiKey"), "its server is shown one of apiKeys, so it could use this one")
    said = [name for name in _OF_PROCESSES if getattr(model, name) != MODEL.defaults[name]]
    if said:
        meaningless = MODEL.names(said)
        found.warn(
            at, f"nothing is started for it, so {', '.join(meaningless)} mean nothing; remove them"
        )


def fixed_port(model: ModelConfig) -> int | None:
    """Return the port of this machine on which `model` always answers; None if there is none."""
    if PORT in model.place or not is_here(model.place):
        return None
    parts = urlsplit(model.place)
    return parts.port or (443 if parts.scheme == "https" else 80)


def is_here(proxy: str) -> bool:
    """Whether `proxy`, a base URL, is of this machine alone."""
    return _is_loopback(urlsplit(proxy.replace(PORT, "1")).hostname or "")


@lru_cache
def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_program(model: ModelConfig, env: Mapping[str, str], disk: Disk, found: Findings) -> None:
    program = model.command[0]
    if disk.is_program(program, env.get("PATH")):
        return
    would_do = (
        "write the path of a file that may be executed"
        if "/" in program
        else "install it, or write its whole path"
    )
    found.warn(
        ("models", model.model, "cmd"),
        f"there is no program {_quoted(program)}{_no_shell(program)}; {would_do}",
    )


def _check_shell(model: ModelConfig, found: Findings) -> None:
    """Check that nothing is meant for a shell: what it would do is done by nobody."""
    written = next(filter(_SHELL_SYNTAX.fullmatch, model.command[1:]), None)
    if written is not None:
        found.warn(
            ("models", model.model, "cmd"),
            f"{_quoted(written)} is handed to the program, because there is no shell; write "
            "sh -c '...' around the whole command, or put it into a script",
        )


def _check_container(model: ModelConfig, found: Findings) -> None:
    """Check that what only starts a container has a command that ends it."""
    words = [word for word in model.command if not word.startswith("-")]
    names = [os.path.basename(word) for word in words]
    tool = next((at for at, name in enumerate(names[:2]) if name in _CONTAINER_TOOLS), None)
    if tool is None or "run" not in names[tool + 1 : tool + 3] or model.stop_command:
        return
    found.warn(
        ("models", model.model, "cmd"),
        f"a container that {_quoted(words[tool])} has started may go on when this command "
        "is killed; give it a --name, and write cmdStop: "
        f"{names[tool].removesuffix('-compose')} stop NAME",
    )


def _check_files(model: ModelConfig, options: ServerOptions, disk: Disk, found: Findings) -> None:
    missing = [str(path) for path in options.files if not disk.is_file(path)]
    if not missing:
        return
    told = ", ".join(map(_quoted, missing[:_MAX_FILES]))
    if len(missing) > _MAX_FILES:
        told += f" and {len(missing) - _MAX_FILES} more"
    hint = _no_shell(missing[0])
    if not hint and not missing[0].startswith("/"):
        hint = ", seen from the folder in which this runs; write its whole path"
    found.warn(("models", model.model, "cmd"), f"there is no file {told}{hint}")


def _check_key(model: ModelConfig, key: str, own_keys: Collection[str], found: Findings) -> None:
    """Check that the key of its server is a secret, and no other one."""
    at = ("models", model.model)
    if any(API_KEY in word for word in model.command):
        found.warn(
            (*at, "cmd"),
            "every user of this machine can read a command line, and ${API_KEY} in it; write "
            "LLAMA_API_KEY=${API_KEY} into env (VLLM_API_KEY for vLLM)",
        )
    if key in own_keys:
        found.warn(
            (*at, "apiKey") if model.api_key else at,
            "the key of its server is one of apiKeys, so that server could use this one; write "
            "LLAMA_API_KEY=${API_KEY} into env, and it gets a key of its own",
        )


def _check_socket(model: ModelConfig, options: ServerOptions, found: Findings) -> None:
    """Check that llama-server listens on the unix socket on which it is asked."""
    listens, asked = options.socket, unix_path(model.proxy)
    if listens is not None and asked is None and is_here(model.proxy):
        told = "the server listens on a unix socket, but arriero asks on a port; leave this out"
    elif listens is None and asked is not None:
        told = (
            "arriero asks on a unix socket, but the server listens on a port; write its path as "
            "--host in cmd, ending in .sock, and leave this out"
        )
    elif None not in {listens, asked} and listens != asked:
        told = "the server listens on another unix socket than this one; leave this out"
    else:
        return
    found.warn(("models", model.model, "proxy"), told)


def _check_given_port(model: ModelConfig, found: Findings) -> None:
    """Check that a server of which nothing else is known is asked on the port that it is given."""
    port = fixed_port(model)
    if model.wants_port and port is not None:
        found.warn(
            ("models", model.model, "proxy"),
            f"arriero asks on port {port}, but the server is given ${{PORT}}, which is another "
            "one at each start; leave this out, or write http://127.0.0.1:${PORT}",
        )


def _check_port(model: ModelConfig, options: ServerOptions, found: Findings) -> None:
    """Check that llama-server listens where it is asked."""
    at = ("models", model.model)
    told = options.port
    if options.socket is not None:
        return  # --port means nothing then
    if told.is_contradiction:
        found.warn(
            (*at, "env", _index(model, "LLAMA_ARG_PORT")),
            "LLAMA_ARG_PORT is another port than that of --port in cmd, which counts; remove it",
        )
    port = DEFAULT_PORT if told.value is None else told.value
    asked = str(fixed_port(model) or PORT)
    if not is_here(model.proxy) or port == asked or not (port == PORT or port.isdecimal()):
        return
    if told.option is not None:
        listens = f"the server listens on port {port}"
    elif told.variable is not None:  # nothing that stands in the environment is told
        listens = "the server listens on the port of LLAMA_ARG_PORT"
    else:
        listens = f"the server is told no port and listens on {port}"
    found.warn(
        (*at, "proxy" if port == PORT else "cmd"),
        f"{listens}, but arriero asks on port {asked}; write --port ${{PORT}}, and no proxy",
    )


def _check_host(model: ModelConfig, options: ServerOptions, found: Findings) -> None:
    at = ("models", model.model)
    if options.host.is_contradiction:
        found.warn(
            (*at, "env", _index(model, "LLAMA_ARG_HOST")),
            "LLAMA_ARG_HOST is another address than that of --host in cmd, which counts; remove it",
        )
    host = options.host.value
    if host is None or not is_here(model.proxy):
        return
    try:
        address = ip_address(host)
    except ValueError:
        return  # a name
    if not address.is_loopback and not address.is_unspecified:
        found.warn(
            (*at, "cmd"),
            "the server listens on another address than that of proxy, where arriero asks; "
            "write --host 127.0.0.1",
        )


def _check_slots(model: ModelConfig, options: ServerOptions | None, found: Findings) -> None:
    """Check that llama-server has a folder for the slots that are to be saved."""
    if not model.save_slots or (options is not None and options.slot_save_path.value):
        return
    found.warn(
        ("models", model.model, "saveSlots"),
        "nothing is saved, for cmd is not surely a llama-server"
        if options is None
        else "nothing is saved without a folder for that; write --slot-save-path DIR into cmd",
    )


def _check_sleep(model: ModelConfig, options: ServerOptions | None, found: Findings) -> None:
    """Check that a server that is to sleep can."""
    if not model.sleep:
        if model.sleep_memory:
            found.warn(("models", model.model, "sleepMemory"), "it never sleeps; write sleep: true")
        return
    at = ("models", model.model, "sleep")
    if options is not None and "--sleep-idle-seconds" not in model.command:
        found.warn(at, "it never falls asleep; write --sleep-idle-seconds 300 into cmd")
    elif any(os.path.basename(word) == "vllm" for word in model.command):
        if "--enable-sleep-mode" not in model.command:
            found.warn(at, "vLLM does not sleep without --enable-sleep-mode; write it into cmd")
        if "VLLM_SERVER_DEV_MODE" not in dict(model.env):
            found.warn(at, "vLLM cannot be told to sleep; write VLLM_SERVER_DEV_MODE=1 into env")


def _check_scraping(model: ModelConfig, found: Findings) -> None:
    """Check that a llama-server that is asked for its metrics has some, and means to be awake."""
    at = ("models", model.model, "cmd")
    if "--metrics" not in model.command and "LLAMA_ARG_ENDPOINT_METRICS" not in dict(model.env):
        found.warn(at, "scrapeMetrics finds nothing without --metrics; write it into cmd")
    if "--sleep-idle-seconds" in model.command:
        found.warn(
            at, "it never falls asleep, for scrapeMetrics asks it; write scrapeMetrics: false"
        )


def _index(model: ModelConfig, variable: str) -> int:
    """Return which entry of `env` sets `variable`: the last one counts."""
    return max(at for at, (name, _) in enumerate(model.env) if name == variable)


def _no_shell(text: str) -> str:
    if text.startswith("~") or "$" in text:
        return " (there is no shell, so ~ and $ stand for nothing)"
    return ""


def _quoted(text: str) -> str:
    return repr(masked_text(text)[:_SHOWN])
