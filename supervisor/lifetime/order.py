"""What the command line orders: which configuration, and what wins over it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arriero.protocol.worker_config import TlsFiles

from ..config.lint.lint import with_findings
from ..config.lint.real_disk import RealDisk
from ..config.load import Config, load_with_tree, parse_listen
from ..config.schema.reader import UnknownKeys
from ..config.sources import find_sources
from ..config.values import LogLevel
from ..config.yaml.tree import Node
from ..errors import ConfigError, Problem
from ..host.tls_files import tls_files
from ..reload.change_detector import View
from ..reload.watcher import look_at

if TYPE_CHECKING:
    from ..generate.search import ModelSearch


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command line.

    Attributes:
        files: Configuration files, in the order in which they are merged.
        directory: A folder of further ones.
        search: Finds models to serve without a configuration; then there are no files.
        unknown: What unknown keys are.
        watches: A change of the files is followed.
        listen: ``host:port`` in the place of the configuration's.
        workers: Number of workers in the place of the configuration's.
        log_level: Least important lines of the log, in the place of the configuration's.
        socket_dir: Folder for the sockets; see `runtime_dir.find_runtime_dir` for the default.
        tls_cert: The certificate that clients are shown.
        tls_key: Its key.
    """

    files: tuple[Path, ...] = ()
    directory: Path | None = None
    search: "ModelSearch | None" = None
    unknown: UnknownKeys = "by file"
    watches: bool = False
    listen: str | None = None
    workers: int | None = None
    log_level: LogLevel | None = None
    socket_dir: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def look(self) -> View:
        """Return the state of the configuration's files."""
        return look_at(self.files, self.directory, lambda folder: find_sources((), folder))

    def load(self) -> Config:
        """Read the configuration; options of the command line win.

        Its warnings are those of ``arriero check``, and the keys on which nothing acts.

        Raises:
            ConfigError: It cannot be used.
        """
        return with_findings(*self.load_with_tree(), RealDisk())

    def load_with_tree(self) -> tuple[Config, Node]:
        """Do as `load`, without looking for what is surely not meant; return the tree as well.

        Raises:
            ConfigError: It cannot be used.
        """
        if self.search is not None:
            config, root = self.search.load(os.environ)
        else:
            config, root = load_with_tree(
                *self.files, directory=self.directory, environ=os.environ, unknown=self.unknown
            )
        config = replace(
            config,
            listen=config.listen if self.listen is None else parse_listen(self.listen),
            workers=config.workers if self.workers is None else self.workers,
            logging=replace(config.logging, level=self.log_level or config.logging.level),
            tls=self._tls(),
        )
        return config, root

    def sources(self) -> tuple[Path, ...]:
        """Return the files as they are now.

        Raises:
            ConfigError: There are none, or they cannot be named.
        """
        return find_sources(self.files, self.directory)

    def _tls(self) -> TlsFiles | None:
        try:
            return tls_files(self.tls_cert, self.tls_key)
        except ValueError as exc:
            source = str(self.tls_cert or self.tls_key)
            raise ConfigError([Problem(source, 0, 0, "", str(exc))]) from exc
