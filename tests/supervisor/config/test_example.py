"""The example shows every key, and says the truth."""

import re
from collections.abc import Iterator

import pytest

from arriero.supervisor.config.document import every_key
from arriero.supervisor.config.load import load_config, parse_config
from arriero.supervisor.config.schema.reader import Key
from arriero.supervisor.config.yaml.tree import Node, parse_yaml
from tests.examples import examples
from tests.paths import EXAMPLE_CONFIG

TEXT = EXAMPLE_CONFIG.read_text()
LINES = TEXT.splitlines()

# Keys that cannot stand beside others, or would change something outside; they are in comments.
IN_COMMENTS = (
    "ollamaListen",
    "adminListen",
    "control",
    "clientKeys",
    "sendLoadingState",
    "groups",
    "matrix",
    "strip_params",
    "path",
    "priceList",
    "ray",
)


def uncommented(text: str) -> str:
    """Return `text` with the keys that are in comments taken out of them."""
    lines = []
    depth: int | None = None
    for line in text.splitlines():
        match = re.match(r"( *)# ?( *)([\w-]+:)?", line)
        if match is None or (depth is not None and not match[2] and not match[3]):
            depth = None
        elif match[3] and match[3][:-1] in IN_COMMENTS and depth is None:
            depth = len(match[2])
        elif depth is not None and len(match[2]) <= depth and match[3][:-1] not in IN_COMMENTS:
            depth = None
        lines.append(line if depth is None else re.sub(r"# ?", "", line, count=1))
    return "\n".join(lines) + "\n"


def shown(node: Node, keys: dict[str, Key], path: str = "") -> Iterator[tuple[str, Node]]:
    """Give the path of each key in a tree, names of the user's choice as ``<id>``; and where."""
    for item in node.value if isinstance(node.value, list) else ():
        yield from shown(item, keys, f"{path}.<id>")
    for name, key, value in node.items():
        for written in (name, "<id>"):
            here = f"{path}.{written}" if path else written
            if here in keys or any(known.startswith(f"{here}.") for known in keys):
                yield here, key
                yield from shown(value, keys, here)
                break


KEYS = {
    path.removesuffix(key.name) + name: key for path, key in every_key() for name in key.spellings
}


def keys_in(text: str) -> list[tuple[str, Node]]:
    root = parse_yaml(text)
    assert root is not None
    return [(path, node) for path, node in shown(root, KEYS) if path in KEYS]


def test_it_loads_without_mistakes_and_warnings() -> None:
    config = load_config(EXAMPLE_CONFIG, environ={})
    assert config.warnings == ()
    assert config.models["qwen3-8b"].launch(5801).command[-2:] == ("-c", "8192")
    assert config.models["a-model-in-vllm"].health_check_timeout_s == 600


def test_an_editor_finds_the_schema() -> None:
    assert LINES[0] == "# yaml-language-server: $schema=./config.schema.json"
    assert (EXAMPLE_CONFIG.parent / "config.schema.json").exists()


def test_it_shows_every_key() -> None:
    assert KEYS.keys() - {path for path, _ in keys_in(uncommented(TEXT))} == set()


@pytest.mark.parametrize("path", sorted(KEYS)[:: examples(10, 1)])
def test_a_key_that_is_left_out_is_noticed(path: str) -> None:
    name = path.rpartition(".")[2]
    without = re.sub(rf"\b{name}:", "x-other:", uncommented(TEXT))
    without = re.sub(
        r"^( *)x-other:", lambda match: f"{match[1]}x-{next(numbers)}:", without, flags=re.MULTILINE
    )
    assert path not in {found for found, _ in keys_in(without)}


numbers = iter(range(10**9))


def test_what_is_in_comments_loads_too() -> None:
    text = re.sub(
        r"^routing:\n(?:[ #].*\n|\n)*?(?=^groups:)", "", uncommented(TEXT), flags=re.MULTILINE
    )
    text = re.sub(
        r"^matrix:\n(?: .*\n)+", "", text, flags=re.MULTILINE
    )  # beside groups there is none
    text = re.sub("^  file: .*\n", "", text, flags=re.MULTILINE)  # beside a url there is none
    config = parse_config(text, environ={})
    assert [group.name for group in config.routing.groups] == ["small"]
    assert config.activity.store_path is not None
    assert config.price_list is not None
