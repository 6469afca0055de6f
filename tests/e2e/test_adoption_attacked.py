"""A supervisor that is killed at any moment, again and again, while all goes on around it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest
from test_adoption import is_part, is_whole, kill
from trains import Stream, Train, alive, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(3000)]

KILLS = int(os.environ.get("ARRIERO_KILLS", "200"))
GRACE_S = 20.0


def begin(train: Train) -> None:
    """Start it in the same place, and do not wait for it."""
    args = train.process.args
    assert isinstance(args, list)
    with train.log.open("ab") as output:
        train.process = subprocess.Popen(
            args, stderr=output, env=os.environ | {"XDG_STATE_HOME": str(train.log.parent)}
        )


def disturb(train: Train, chance: random.Random, orders: "list[subprocess.Popen[bytes]]") -> str:
    """Do, without waiting for it, one of the things that a supervisor may be killed in."""
    what = chance.choice(["nothing", "swap", "unload", "reload", "restart", "scale", "start"])
    words = {
        "swap": ["swap", chance.choice("abc"), "--no-wait"],
        "unload": ["unload", chance.choice("abc")],
        "reload": ["reload"],
        "restart": ["restart"],
        "scale": ["scale", chance.choice("12")],
    }.get(what)
    if words is not None:
        orders.append(
            subprocess.Popen(
                [sys.executable, "-m", "arriero", *words, "--socket-dir", str(train.socket_dir)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    return what


def models_by_name(train: Train) -> dict[str, list[int]]:
    """Process ids of the servers of each model of this train."""
    found: dict[str, list[int]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            mark = process.environ().get("XDG_STATE_HOME") == str(train.log.parent)
            if mark and "--name" in words and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(words[words.index("--name") + 1], []).append(process.pid)
    return found


def test_no_moment_is_a_bad_one_to_be_killed(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    seed = int(os.environ.get("ARRIERO_SEED", "0")) or time.time_ns() % 10**6
    chance = random.Random(seed)
    print(f"seed {seed}")
    models: dict[str, Any] = {
        name: {"cmd": scripted("--name", name, "--load-s", "0.3")} for name in "abc"
    }
    train = start_train(
        {
            "workers": 1,
            "adopt": True,
            "supervisorGrace": f"{GRACE_S:g}s",
            "progress": "reasoning",
            "progressDelay": "0s",
            "models": models,
            "groups": {"pair": {"members": ["a", "b"], "swap": False}},
        }
    )
    streams: list[Stream] = []
    lost: list[str] = []
    orders: list[subprocess.Popen[bytes]] = []
    for number in range(KILLS):
        streams += [
            Stream(train, chance.choice("abc"), chunks=40, delay_s=0.05, within_s=120)
            for _ in range(2)
        ]
        what = disturb(train, chance, orders)
        time.sleep(chance.uniform(0.0, 1.5))
        kill(train)
        begin(train)
        if chance.random() < 0.3:  # in the middle of an adoption as well
            time.sleep(chance.uniform(0.2, 1.5))
            kill(train)
            begin(train)
        began = time.monotonic()
        while True:
            with suppress(AssertionError, KeyError):
                if train.ask("ping", within_s=1.0)["ok"]:
                    break
            assert train.process.poll() is None, train.log_text()[-3000:]
            assert time.monotonic() < began + 60, f"{number}: {what}: hangs"
        double = {name: pids for name, pids in models_by_name(train).items() if len(pids) > 1}
        if double:  # one may be on its way out
            eventually(
                lambda: all(len(pids) < 2 for pids in models_by_name(train).values()),
                within_s=12,
                what=f"{number}: {what}: one process of each of {double}",
            )
        for stream in [one for one in streams if not one._thread.is_alive()]:
            streams.remove(stream)
            began_text = bool(stream.text())
            if began_text and not is_whole(stream, 40):
                lost.append(
                    f"{number}: {what}: {stream.error} {stream.errors()} {stream.frames[-1:]}"
                )
    for stream in streams:
        stream._thread.join(120)
        if stream.text() and not is_whole(stream, 40):
            lost.append(f"at the end: {stream.error} {stream.errors()} {stream.frames[-1:]}")
        assert not stream._thread.is_alive(), "a request that hangs"
    for order in orders:
        order.kill()
        order.wait()
    print("\n".join(lost))
    assert lost == []
    eventually(lambda: train.ask("status", within_s=5.0)["ok"], what="peace")
    parts = [process for process in psutil.process_iter() if is_part(process, train)]
    servers = [psutil.Process(pid) for pids in models_by_name(train).values() for pid in pids]
    train.stop(signal.SIGTERM, within_s=90)
    eventually(lambda: alive([*parts, *servers]) == [], within_s=GRACE_S + 5, what="nothing left")
