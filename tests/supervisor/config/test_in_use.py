"""Configurations as people have them for llama-swap, each with another pattern: all are taken."""

import re
from pathlib import Path

import pytest

from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.load import load_config, parse_config
from arriero.supervisor.errors import ConfigError

FOLDER = Path(__file__).with_name("in_use")
FILES = sorted(FOLDER.glob("*.yaml"))
ENVIRON = {"SWAP_KEY": "sk-a", "OPENROUTER_API_KEY": "sk-or", "HF_TOKEN": "hf_x"}


def expected(path: Path) -> list[str]:
    """What the file says in comments that is to be told of it."""
    return re.findall(r"^# warns: (.*)$", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_taken_and_each_doubt_is_one_line(path: Path) -> None:
    config = load_config(path, environ=ENVIRON)

    told = [str(problem) for problem in config.warnings]
    for words in expected(path):
        at = next((at for at, line in enumerate(told) if words in line), None)
        assert at is not None, (words, told)
        del told[at]
    assert told == []
    assert config.written_models
    written = dump(config)
    assert dump(parse_config(written, environ={})) == written


def test_one_key_of_our_own_makes_mistakes_of_doubts() -> None:
    text = (FOLDER / "other_versions.yaml").read_text()

    with pytest.raises(ConfigError) as caught:
        parse_config(f"workers: 1\n{text}", environ={})

    assert len(caught.value.problems) == 6
    assert [problem.path for problem in caught.value.warnings] == []
