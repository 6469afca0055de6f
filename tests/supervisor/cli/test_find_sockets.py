"""Where the command line looks for sockets, and what it says when nobody is there."""

import errno
import os
from pathlib import Path

import pytest

from arriero.supervisor.cli.find_sockets import socket_folder, why_unreachable

OWN = {"XDG_RUNTIME_DIR": "/run/user/7"}
SERVICE = {"RUNTIME_DIRECTORY": "/run/llamas:/run/more"}
SAID = {"ARRIERO_SOCKET_DIR": "/srv/s"}


@pytest.mark.parametrize(
    ("environ", "there", "folder"),
    [
        (SAID | SERVICE | OWN, set(), "/srv/s"),
        (SAID, {"/run/arriero", "/run/arriero/control.sock"}, "/srv/s"),
        (SERVICE | OWN, set(), "/run/llamas"),
        (OWN, set(), "/run/user/7/arriero"),
        (OWN, {"/run/arriero/control.sock"}, "/run/arriero"),
        (
            OWN,
            {"/run/arriero/control.sock", "/run/user/7/arriero/control.sock"},
            "/run/user/7/arriero",
        ),
        ({}, {"/run/arriero/control.sock"}, "/run/arriero"),
        ({"TMPDIR": "/t"}, set(), f"/t/arriero-{os.geteuid()}"),
    ],
)
def test_the_first_place_with_a_control_socket_is_taken_else_the_first_place(
    environ: dict[str, str], there: set[str], folder: str
) -> None:
    assert socket_folder(environ, lambda path: str(path) in there) == Path(folder)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "the file does not exist; start a supervisor with `arriero serve`"),
        (errno.ECONNREFUSED, "the file exists, but nobody listens on it; its supervisor has ended"),
        (errno.EACCES, "but this user may not open it; run this command as llama"),
        (errno.EMFILE, "Too many open files; give the folder"),
    ],
)
def test_an_unreachable_socket_is_named_with_the_reason_and_what_would_do(
    number: int, words: str
) -> None:
    text = why_unreachable(Path("/s/control.sock"), OSError(number, "Too many open files"), "llama")

    assert text.startswith("cannot reach a supervisor at /s/control.sock: ")
    assert words in text
