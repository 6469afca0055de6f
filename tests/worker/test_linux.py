"""Calls of Linux for which Python has no function."""

import errno
import os
import platform

import pytest

from arriero.worker.linux import fork_sibling


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
