"""`keygen`: keys that nobody else can read, and that are not lost by chance."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arriero.protocol.remote.curve import from_hex, is_key, keys_of, new_keys, to_hex
from arriero.supervisor.cli.find_sockets import CommandFailed
from arriero.supervisor.cli.offline.keygen import keygen
from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.host.curve_key_file import read_keys, write_keys


def run(*args: object) -> Result:
    return CliRunner().invoke(keygen, list(map(str, args)))


def test_a_key_is_private_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "control.key"
    mask = os.umask(0)
    try:
        made = run(file)
    finally:
        os.umask(mask)
    public = made.stdout.strip()
    assert made.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert to_hex(read_keys(file).public) == public
    assert run("--public", file).stdout.strip() == public

    again = run(file)
    assert isinstance(again.exception, CommandFailed)
    assert "is there already" in str(again.exception)
    assert to_hex(read_keys(file).public) == public

    replaced = run("--force", file)
    assert replaced.stdout.strip() == to_hex(read_keys(file).public) != public
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    nowhere = run(tmp_path / "no" / "such" / "folder")
    assert isinstance(nowhere.exception, CommandFailed)
    assert str(nowhere.exception).endswith(f"does not exist; mkdir -p {tmp_path}/no/such")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert isinstance(run(tmp_path / "link").exception, CommandFailed)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        (0o640, None, "others may read it"),
        (0o604, None, "others may read it"),
        (0o600, "", "there is no key in it"),
        (0o600, "ab" * 32, "there is no key in it"),  # the other half
        (0o600, "arriero-secret-" + "g" * 64, "there is no key in it"),
        (0o600, "x" * 2000, "longer than"),
    ],
)
def test_what_is_no_private_key_is_not_used(
    tmp_path: Path, mode: int, text: str | None, said: str
) -> None:
    file = tmp_path / "key"
    write_keys(file, new_keys())
    if text is not None:
        file.write_text(text)
    file.chmod(mode)
    with pytest.raises(SupervisorError, match=said):
        read_keys(file)


def test_a_missing_key_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="make one with: arriero keygen"):
        read_keys(tmp_path / "none")
    with pytest.raises(SupervisorError, match="cannot read the key"):
        read_keys(tmp_path)


def test_keys_are_written_in_digits() -> None:
    keys = new_keys()
    assert from_hex(to_hex(keys.public).upper()) == keys.public
    assert keys_of(keys.secret) == keys
    assert keys.secret not in repr(keys)
    assert is_key(keys.public)
    for wrong in ("", "0" * 63, "0" * 65, "g" * 64, keys.public):
        assert from_hex(wrong) is None
    assert not any(map(is_key, ("", "a" * 39, "\x00" * 40, "é" * 40)))
