"""Stands for Slurm's srun and scancel: options before the command, input and signals passed on.

    python srun.py --job-name=x --gpus=1 sh -c ...
    python srun.py cancel --name=x

As srun does (srun(1)): the first word that is no option is the program, its output comes out as it
is, the end of the input is passed on, and so are signals but SIGINT; its exit code is the task's.
The task has a session of its own, as on another machine: nothing that is done to srun reaches it
but by these ways. With ``SRUN_JOBS`` in the environment, a folder, each job has a file there with
the process id of its task; ``cancel`` sends that SIGTERM, as scancel(1) does.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main(words: list[str]) -> int:
    """Run one task, or cancel one."""
    jobs = Path(os.environ["SRUN_JOBS"])
    if words[:1] == ["cancel"]:
        (name,) = (word.partition("=")[2] for word in words[1:] if word.startswith("--name="))
        (jobs / f"{name}.cancelled").touch()
        try:
            os.killpg(int((jobs / name).read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            print(f"scancel: error: no job {name}", file=sys.stderr)
            return 1
        return 0
    options = []
    while words and words[0].startswith("--"):
        options.append(words.pop(0))
    (name,) = (word.partition("=")[2] for word in options if word.startswith("--job-name="))
    task = subprocess.Popen(words, start_new_session=True)  # its input is ours, and ends with it
    (jobs / name).write_text(str(task.pid))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.killpg(task.pid, number))
    code = task.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
