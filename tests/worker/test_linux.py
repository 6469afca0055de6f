"""Calls of Linux for which Python has no function."""

import errno
import os
import platform
import subprocess
import sys

import pytest

from arriero.worker.linux import fork_sibling


def test_a_variable_is_shown_to_others_and_ours_stay() -> None:
    program = (
        "import os, ctypes\n"
        "from arriero.worker.linux import show_variable\n"
        "before = dict(os.environ)\n"
        "show_variable('X=' + 'y' * 100_000)\n"
        "show_variable('SHOWN=1')\n"
        "shown = open('/proc/self/environ', 'rb').read().split(b'\\0')\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.getenv.restype = ctypes.c_char_p\n"
        "ours = {name: libc.getenv(name.encode()).decode() for name in before}\n"
        "print(shown[0].decode(), 'SHOWN' in os.environ, ours == before == dict(os.environ))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["SHOWN=1", "False", "True"]


@pytest.mark.parametrize("libc", [("", ""), ("libc", "")])
def test_there_is_no_fork_with_an_unknown_c_library(
    monkeypatch: pytest.MonkeyPatch, libc: tuple[str, str]
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    us = os.getpid()

    try:
        with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)):
            fork_sibling()
    finally:
        if os.getpid() != us:
            os._exit(1)
