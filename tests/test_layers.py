"""The house: who may import whom, how much is in one package, and that each has a map."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.paths import ROOT

# Packages, and files that stand in none, lowest first: a file imports from its own package and from
# lower layers. Those of one layer do not import each other.
LAYERS = {
    "protocol": """
        errors wakefulness flood_log read_json < log_format values < machine records
        < worker_config events < control < lease < codec sequence < transport < remote""",
    "supervisor": """
        errors text < llamacpp config.yaml < host placement < memory processes
        < facts machine progress pricing scheduling.messages store
        < scheduling.states < scheduling.room < scheduling < config.schema ray < config
        < launchers models.signs peers slots < models.start
        < config.lint config.shown generate models page_cache telemetry workers < reload
        < metrics < control lifetime < app
        < cli.render < cli < cli.chat cli.offline cli.serve cli.top < __main__""",
    "worker": """
        errors limits linux < json leases http < connections < streams
        < apis.base < apis.chat apis.messages apis.management < apis.ollama apis.responses < apis
        < accounting
        < progress upstreams feeds < apis.turns < relay http2
        < websocket preview model_status < supervisor_link control_socket feed_link < ui < server
        < app < __main__ < zygote""",
}
LAYER_OF = {
    root: {name: n for n, layer in enumerate(text.split("<")) for name in layer.split()}
    for root, text in LAYERS.items()
}
PACKAGES = sorted(path.parent for root in LAYERS for path in (ROOT / root).rglob("__init__.py"))
MAX_FILES = 15


def home(parts: tuple[str, ...]) -> str:
    """Return the package of a module; of one that stands in none, its name."""
    return ".".join(parts[:-1]) or parts[-1]


@cache
def declared(path: Path) -> list[ast.ImportFrom | ast.ClassDef]:
    """Return the imports and classes of a file, wherever in it: reading all takes seconds."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node for node in nodes if isinstance(node, ast.ImportFrom | ast.ClassDef)]


def imported(root: str, path: Path) -> Iterator[tuple[str, ...]]:
    """Give the modules of its own root that a file imports, wherever in it."""
    package = path.relative_to(ROOT / root).parts[:-1]
    for node in declared(path):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1]
        for name in [node.module] if node.module else [alias.name for alias in node.names]:
            parts = (*base, *name.split("."))
            is_package = ROOT.joinpath(root, *parts).is_dir()
            yield from ((*parts, alias.name) for alias in node.names) if is_package else [parts]


@pytest.mark.parametrize("root", LAYERS)
def test_nothing_is_imported_from_above_or_beside(root: str) -> None:
    layer_of = LAYER_OF[root]
    seen = set()
    for path in (ROOT / root).rglob("*.py"):
        if path.name != "__init__.py":
            own = home(path.relative_to(ROOT / root).with_suffix("").parts)
            seen.add(own)
            wanted = {home(parts) for parts in imported(root, path)} - {own}
            assert [name for name in wanted if layer_of[name] >= layer_of[own]] == [], path
    assert seen == set(layer_of)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_is_small_and_its_map_has_all_that_is_in_it(package: Path) -> None:
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    within = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    shown = re.findall(r"^    ([\w/]+)  +\S", (package / "__init__.py").read_text(), re.MULTILINE)

    assert len(files) <= MAX_FILES
    if package.parent == ROOT and within:
        assert set(shown) == {name.replace(".", "/") for name in shown_as(package)}
    else:
        assert sorted(shown) == sorted(files | within)


def shown_as(root: Path) -> Iterator[str]:
    """Give the layers of a root as its map has them: a package ends with a slash."""
    for name in LAYER_OF[root.name]:
        yield f"{name}/" if root.joinpath(*name.split(".")).is_dir() else name


def test_what_is_built_has_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = set(project["tool"]["setuptools"]["packages"])

    assert built == {
        "arriero",
        *(".".join(("arriero", *path.relative_to(ROOT).parts)) for path in PACKAGES),
    }


def test_a_class_name_has_one_meaning() -> None:
    found: dict[str, list[str]] = {}
    for root in LAYERS:
        for path in sorted((ROOT / root).rglob("*.py")):
            for node in declared(path):
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))

    assert {name: places for name, places in found.items() if len(places) > 1} == {}
