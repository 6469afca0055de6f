"""Looks for models in some places, and makes a configuration of them."""

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Final, TypeAlias

from ..config.load import Config, parse_with_tree
from ..config.yaml.tree import Node
from ..errors import ConfigError, Problem, SupervisorError
from ..text.printable import clean
from .from_scan import FoundFile, Inventory, configuration, take_stock
from .gguf_files import FileSearch, HeaderCache, SearchLimits
from .places import GET_SERVER, SearchPlace, find_server, named_places, usual_places

log = logging.getLogger(__name__)

# Remarks that are logged at a time.
_SHOWN: Final = 20

# Stands for the file in messages about a configuration that was made in memory.
SOURCE: Final = "models found"

# Passes on what is read of so many files, and may draw a bar meanwhile.
Shower: TypeAlias = Callable[[Iterable[FoundFile], int], Iterable[FoundFile]]


class NothingFound(ConfigError):
    """There is no model to serve, and no configuration."""

    def __init__(self, message: str) -> None:
        super().__init__([Problem(SOURCE, 0, 0, "", message)])
        self.args = (message,)


class ModelSearch:
    """Searches for models, each time anew; headers of files that did not change are read once.

    Attributes:
        places: Where.
    """

    def __init__(self, folders: Sequence[Path] = (), limits: SearchLimits | None = None) -> None:
        """Build it.

        Args:
            folders: Where to look; none: wherever models usually lie.
            limits: How far it goes.
        """
        home = _home()
        self.places: tuple[SearchPlace, ...] = (
            named_places(folders) if folders else usual_places(os.environ, home, Path.cwd())
        )
        self._limits = limits or SearchLimits()
        self._heads: HeaderCache = {}

    def run(self, shower: Shower = lambda files, _: files) -> Inventory:
        """Return what is there. Blocks.

        Raises:
            SupervisorError: A folder that was named cannot be read.
        """
        search = FileSearch(self._limits)
        try:
            seen = search.find(self.places)
        except OSError as exc:
            raise SupervisorError(
                f"cannot look for models in {exc.filename}: {exc.strerror}"
            ) from exc
        before, self._heads = self._heads, {}
        found = take_stock(shower(search.read(seen, self._heads, before), len(seen)))
        found.remarks += search.remarks
        return found

    def text(self, found: Inventory) -> str:
        """Return a configuration of it."""
        return configuration(found, self.existing(), llama_server())

    def load(self, environ: Mapping[str, str]) -> tuple[Config, Node]:
        """Return a configuration of what is there, and its tree; it is on no disk. Blocks.

        Raises:
            NothingFound: There are no models.
            SupervisorError: A folder that was named cannot be read.
        """
        found = self.run()
        for remark in found.remarks[:_SHOWN]:
            log.warning("models.left_out %s", clean(remark))
        if (more := len(found.remarks) - _SHOWN) > 0:
            log.warning("models.left_out and %d more; `arriero init --json` shows all", more)
        if not found.models:
            is_named = any(place.is_named for place in self.places)
            no_file = "" if is_named else "there is no configuration (config.yaml), and "
            raise NothingFound(f"{no_file}{self.none_found()}: arriero serve FOLDER")
        log.info("models.found count=%d in=%r", len(found.models), self.words())
        if llama_server() is None:
            log.warning("models.no_server %s", GET_SERVER)
        return parse_with_tree(self.text(found), SOURCE, environ=environ)

    def none_found(self) -> str:
        """Return that there are no models, and what would do."""
        return (
            f"there is no model in {self.words()}; GGUF files end in .gguf: put one there, or name "
            "the folder that has some"
        )

    def with_also(self, folder: Path) -> "ModelSearch":
        """Return a search that looks into `folder`, too, and knows what this one has read."""
        also = copy(self)
        also.places = (*self.places, *named_places([folder]))
        return also

    def init_command(self) -> str:
        """Return the command that writes such a configuration into a file."""
        named = [str(place.folder) for place in self.places if place.is_named]
        return clean(shlex.join(["arriero", "init", *named]))

    def words(self) -> str:
        """Return the places that are there, on one line."""
        return ", ".join(clean(str(place)) for place in self.existing())

    def existing(self) -> list[SearchPlace]:
        """Return the places that are there."""
        return [place for place in self.places if place.is_named or os.path.isdir(place.folder)]


def llama_server() -> str | None:
    """Return how llama-server is called on this machine; None if it is not found."""
    return find_server(
        shutil.which,
        lambda path: path.is_file() and os.access(path, os.X_OK),
        Path(sys.executable).parent,
        _home(),
    )


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None
