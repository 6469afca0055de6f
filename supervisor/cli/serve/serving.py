"""Runs what the command `serve` orders. Without click, which `serve` itself is made of."""

import gc
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from arriero.protocol.errors import ProtocolError

from ...errors import SupervisorError
from ...host.collector import no_collection
from ...workers.zygote import Zygote, fork_zygote
from .options import ServeOptions

if TYPE_CHECKING:
    from ...host.log import ProgramLog
    from ...lifetime.order import Order

log = logging.getLogger(__name__)


def serve(options: ServeOptions) -> int:
    """Run the supervisor and its workers until they are told to end; return the exit status.

    Raises:
        SupervisorError, ProtocolError: They cannot be started. A log for programs says so itself.
    """
    zygote = fork_zygote()  # first: it imports what workers need, beside what comes next
    with no_collection():
        from ... import app  # noqa: F401  all that `run` needs, while nothing is collected
        from ...lifetime.order import Order

        search = None
        if options.searches:
            from ...generate.search import ModelSearch

            search = ModelSearch(tuple(map(Path, options.folders)))
    from ...host.log import begin_log

    program_log = begin_log(options.log_level, options.log_format)
    order = Order(
        files=tuple(map(Path, options.files)),
        directory=_path(options.directory),
        search=search,
        unknown=options.unknown,
        watches=options.watches,
        listen=options.listen,
        workers=options.workers,
        log_level=options.log_level,
        socket_dir=_path(options.socket_dir),
        tls_cert=_path(options.tls_cert),
        tls_key=_path(options.tls_key),
    )
    try:
        return run(order, zygote, program_log)
    except (SupervisorError, ProtocolError) as exc:
        if options.log_format == "text":
            raise
        log.critical("serve.failed reason=%s", exc)
        return 1


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def run(order: "Order", zygote: Zygote | None, program_log: "ProgramLog") -> int:
    """Run the supervisor; see `app.serve`."""
    from ...app import serve

    gc.freeze()  # what was imported stays for good: the collector skips it
    return serve(order, zygote, program_log)
