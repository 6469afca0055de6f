"""What an editor says of a configuration, for the tests of this folder."""

from typing import Any

from jsonschema import Draft7Validator

from arriero.supervisor.config.document import schema
from arriero.supervisor.config.yaml.tree import Node, parse_yaml

VALIDATOR = Draft7Validator(schema())


def as_data(node: Node) -> Any:
    """Return what a tree says, as lists and dicts: what an editor compares with the schema."""
    if isinstance(node.value, dict):
        return {name: as_data(value) for name, _, value in node.items()}
    if isinstance(node.value, list):
        return [as_data(item) for item in node.value]
    return node.value


def data_of(text: str) -> Any:
    """Return what `text` says, without top-level keys that only hold anchors.

    The loader takes any name for these, of which a schema can know only some.
    """
    root = parse_yaml(text)
    if root is None:
        return None
    known = VALIDATOR.schema["properties"]
    return {
        name: as_data(value)
        for name, _, value in root.items()
        if name in known or not value.holds_anchor
    }


def complaints(data: Any) -> list[str]:
    """Return what the schema has against `data`: the path, and what it says."""
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in VALIDATOR.iter_errors(data)
    ]
