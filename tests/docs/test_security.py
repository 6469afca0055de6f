"""docs/security.md names nothing that is not there."""

import json
import re
from typing import Any

from tests.paths import ROOT

PAGES = ("docs/security.md", "SECURITY.md", "docs/reliability.md")
PAGE = (ROOT / "docs/security.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The rows of the table under this heading, without its head."""
    section = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def is_key(dotted: str) -> bool:
    """Whether the configuration has such a key; <id> is any name."""
    schema = json.loads((ROOT / "config.schema.json").read_text())

    def within(node: dict[str, Any], parts: list[str]) -> bool:
        if "$ref" in node:
            found = schema
            for name in node["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            return within(found, parts)
        if not parts:
            return True
        kinds = [within(one, parts) for one in node.get("anyOf", []) + node.get("oneOf", [])]
        name, *rest = parts
        inner = node.get("additionalProperties") if name == "<id>" else None
        if isinstance(inner, dict):
            return within(inner, rest)
        known = node.get("properties", {})
        return any(kinds) or (name in known and within(known[name], rest))

    return within(schema, dotted.split("."))


def test_each_promise_has_a_test() -> None:
    promises = rows("What is promised")
    assert len(promises) > 8
    assert all(re.search(r"\(\.\./tests/[a-z0-9_/]+\.py\)", where) for _, where in promises)


def test_the_keys_are_keys_of_the_configuration() -> None:
    named = [key for row in rows("Keys") for key in re.findall(r"`([^`]+)`", row[0])]
    assert len(named) > 5
    assert [key for key in named if not is_key(key)] == []
    assert not is_key("noSuchKey")
    assert not is_key("peers.<id>.noSuchKey")


def test_the_readme_leads_here() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in PAGES:
        assert f"]({page})" in readme
