"""What the command line of `serve` orders."""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ...config.schema.reader import UnknownKeys
    from ...config.values import LogLevel
    from ...host.log import LogForm


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of `serve`, read and checked.

    Attributes:
        folders: Where models are looked for, if there are no files; none: at the usual places.
        files: Configuration files.
        directory: A folder of further ones.
        unknown: What unknown keys are.
        watches: A change of the files is followed.
        listen: ``host:port`` in the place of the configuration's.
        workers: Number of workers in the place of the configuration's.
        log_level: Least important lines of the log, in the place of the configuration's.
        log_format: Of the log.
        socket_dir: Folder for the sockets.
        tls_cert: The certificate that clients are shown.
        tls_key: Its key.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    directory: str | None
    unknown: "UnknownKeys"
    watches: bool
    listen: str | None
    workers: int | None
    log_level: "LogLevel | None"
    log_format: "LogForm"
    socket_dir: str | None
    tls_cert: str | None
    tls_key: str | None

    @property
    def searches(self) -> bool:
        """Whether there is no configuration."""
        return not self.files and self.directory is None
