"""The package for Debian, installed by dpkg into a copy of this machine, used, removed, purged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

# A copy of the machine that is gone with its process: what is written goes to memory.
COPY = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc none "$1/root/proc"
mount -t tmpfs none "$1/root/tmp"
cp "$2" "$1/root/tmp/arriero.deb"
exec chroot "$1/root" /bin/sh -c "$3"
"""
SPACES = ("--mount", "--pid", "--fork", "--kill-child")

USE = r"""
set -e
cd /tmp
export PATH=/usr/local/sbin:/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin
as_arriero() { runuser -u arriero -- "$@"; }
# The machine may lack what it depends on only as a package of Debian's: its Python is there.
dpkg --force-depends -i arriero.deb
echo "version: $(arriero --version)"
stat -c 'rights: %A %U:%G %n' /etc/arriero /etc/arriero/config.yaml
id arriero | sed 's/^/user: /'
echo "check: $(as_arriero arriero check /etc/arriero/config.yaml | tail -1)"
grep '^ExecStart' /usr/lib/systemd/system/arriero.service
systemd-analyze verify --man=no /usr/lib/systemd/system/arriero.service 2>&1 | sed 's/^/verify: /'
echo "man: $(man -w arriero-serve)"
bash -c '. /usr/share/bash-completion/completions/arriero && complete -p arriero'

install -d -o arriero run state
as_arriero env XDG_STATE_HOME=/tmp/state arriero serve --config /etc/arriero/config.yaml \
    --listen 127.0.0.1:0 --workers 1 --socket-dir /tmp/run/arriero 2>log &
for i in $(seq 600); do grep -q supervisor.ready log && break; sleep 0.1; done
as_arriero arriero status --socket-dir /tmp/run/arriero | head -1
as_arriero arriero shutdown --socket-dir /tmp/run/arriero
wait $! && echo "ended in good order"

echo '# mine' >>/etc/arriero/config.yaml
dpkg --force-depends --force-confold -i arriero.deb 2>&1
tail -1 /etc/arriero/config.yaml
dpkg -r arriero
test ! -e /usr/bin/arriero && test ! -e /usr/lib/arriero && tail -1 /etc/arriero/config.yaml
dpkg -P arriero
getent passwd arriero || echo "no user"
find / -xdev -path /proc -prune -o -path /tmp -prune -o -cnewer /tmp/arriero.deb -path '*arriero*' \
    -print | grep -v '^/\(work\|root\|home\)/' | sed 's/^/left: /'
"""


@pytest.fixture(scope="module")
def package() -> Path:
    for program in ("dpkg-deb", "runuser", "unshare", "man"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    done = subprocess.run(
        [sys.executable, "deploy/debian/build.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return ROOT / done.stdout.split()[-1]


@pytest.fixture
def installed(package: Path, tmp_path: Path) -> str:
    if os.geteuid():
        pytest.skip("takes root")
    done = subprocess.run(
        ["unshare", *SPACES, "sh", "-c", COPY, "sh", str(tmp_path), str(package), USE],
        capture_output=True, text=True, timeout=800, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if "mount" in done.stderr and "denied" in done.stderr:
        pytest.skip(f"no copy of this machine can be made: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_package_serves_and_leaves_nothing(installed: str) -> None:
    print(installed)
    assert "version: arriero, version " in installed
    assert "rights: drwxr-x--- root:arriero /etc/arriero\n" in installed
    assert "rights: -rw-r----- root:arriero /etc/arriero/config.yaml\n" in installed
    assert "user: uid=" in installed
    assert "check: 0 models, " in installed
    assert "ExecStart=/usr/bin/arriero serve --config /etc/arriero/config.yaml\n" in installed
    assert "man: /usr/share/man/man1/arriero-serve.1.gz\n" in installed
    assert "complete -o nosort -F _arriero_completion arriero\n" in installed
    assert " listens on 127.0.0.1:" in installed
    assert "ended in good order\n" in installed
    assert installed.count("# mine\n") == 2  # after an upgrade, and after it was removed
    assert "no user\n" in installed
    assert "left: " not in installed


def test_the_package_is_one_for_debian(package: Path) -> None:
    def field(name: str) -> str:
        command = ["dpkg-deb", "--field", str(package), name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert field("Depends") == "python3.11, passwd"
    listed = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
    ).stdout
    assert "root/root" in listed
    assert " ./usr/lib/sysusers.d/arriero.conf\n" in listed
    assert " ./usr/lib/arriero/bin/python -> /usr/bin/python3.11\n" in listed
    assert str(ROOT) not in listed
    for name in ("pip", "setuptools", "pytest"):
        assert f"/site-packages/{name}/" not in listed
