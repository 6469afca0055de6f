"""Starts trains for tests, and sees to it that nothing is left of them."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from trains import DEFAULTS, Train, alive, eventually

from tests.paths import ROOT


@contextmanager
def train_starter(
    tmp_path: Path,
    expected: tuple[str, ...] = (),
    trains: list[Train] | None = None,
    python: str = sys.executable,
) -> Generator[Callable[..., Train]]:
    """Give a function that starts trains; the block ends with all of them stopped.

    Args:
        tmp_path: For their files.
        expected: Events that may be in their logs as errors.
        trains: Where to add them for others to see.
        python: Runs them.
    """
    trains = [] if trains is None else trains

    def start(
        config: dict[str, Any] | Path,
        *options: str,
        environ: dict[str, str] | None = None,
        of_llama_swap: bool = False,
        stdout: int | None = None,
    ) -> Train:
        folder = tmp_path / f"train{len(trains)}"
        folder.mkdir()
        command = ["-config"] if of_llama_swap else ["serve", "--config"]
        if isinstance(config, Path):  # a folder of models
            command, path = ["serve"], config
        else:
            path = folder / "config.yaml"
            path.write_text(yaml.safe_dump(config if of_llama_swap else DEFAULTS | config))
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    python,
                    "-m",
                    "arriero.supervisor",
                    *command,
                    str(path),
                    "--socket-dir",
                    str(folder / "s"),
                    *options,
                ],
                stdout=stdout,
                stderr=output,
                env=os.environ | {"XDG_STATE_HOME": str(folder)} | (environ or {}),
                cwd=ROOT,
            )
        train = Train(process, folder / "s", log)
        trains.append(train)

        def is_up() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"arriero ended: {process.returncode}\n{log.read_text()}")
            return b"supervisor.ready" in log.read_bytes()  # all workers serve

        try:
            eventually(is_up, what="a train that is ready")
        except AssertionError as exc:
            exc.add_note(log.read_text()[-3000:])
            raise
        train.url = f"http://{train.ask('status')['listen']}"
        return train

    yield start

    left = []
    for train in trains:
        if train.process.poll() is None:
            left += train.children()
            try:
                train.stop(within_s=45)
            except subprocess.TimeoutExpired:
                train.process.kill()
                train.process.wait()
                raise AssertionError(f"SIGTERM was not obeyed\n{train.log.read_text()}") from None
        train._context.destroy(linger=0)
    refuse_orphans(alive(left))
    refuse_errors(trains, expected)


def refuse_orphans(orphans: list[psutil.Process]) -> None:
    """Fail if there are processes that should have ended, and end them."""
    for process in orphans:
        process.kill()
    assert not orphans, f"left behind: {orphans}"


def refuse_errors(trains: list[Train], expected: tuple[str, ...]) -> None:
    """Fail if the logs tell of errors that nobody has looked at yet."""
    errors = [line for it in trains for line in it.new_errors(expected)]
    assert not errors, "the log tells of errors:\n" + "\n".join(errors)
