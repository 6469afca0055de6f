"""Where the program `arriero` begins.

The supervisor stays for long, and click would take 1.2 MB of it until it ends. So what stands
behind `arriero serve` is read by a process of its own, which ends when it has told it, while this
one imports what it needs anyway. All other commands run as they are.
"""

import marshal
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from ...host.collector import no_collection
from ..exits import EXIT_FAILED, EXIT_INTERRUPTED, show_any_text


def main() -> int:
    """Run the command that this process was started for; return the exit status."""
    if sys.argv[1:2] == ["serve"] and "_ARRIERO_COMPLETE" not in os.environ:
        return _serve(sys.argv[1:])
    from ..main import main as run_command

    return run_command()


def _serve(args: Sequence[str]) -> int:
    show_any_text()
    with no_collection():
        import arriero.protocol.codec  # noqa: F401  both need it
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _tell_options(args, writing)
    os.close(writing)
    try:
        from arriero.protocol.errors import ProtocolError

        from ...errors import SupervisorError

        with no_collection():
            from .options import ServeOptions
            from .serving import serve

        with open(reading, "rb") as pipe:
            told = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not told:  # help, or an error: it has been shown
            return status if status >= 0 else EXIT_FAILED
        try:
            return serve(ServeOptions(**marshal.loads(told)))  # noqa: S302  our own fork told it
        except (SupervisorError, ProtocolError) as exc:
            sys.stderr.write(f"arriero: {exc}\n")
            return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _tell_options(args: Sequence[str], writing: int) -> NoReturn:
    """Read `args` in this process, a fork; tell what they order, and end."""
    status = EXIT_FAILED
    try:
        import msgspec

        from ..main import main as run_command
        from .options import ServeOptions

        def tell(options: ServeOptions) -> int:
            # Names of files may be no UTF-8, which JSON does not take.
            with open(writing, "wb", closefd=False) as pipe:
                pipe.write(marshal.dumps(msgspec.structs.asdict(options)))
            return 0

        status = run_command(args, serve=tell)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except Exception:  # noqa: BLE001  this is the edge of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
