"""Short ways to read a configuration, for the tests of this folder."""

import pytest

from arriero.supervisor.config.load import Config, ModelConfig, parse_config
from arriero.supervisor.errors import ConfigError


def parse(text: str, **environ: str) -> Config:
    """Return the configuration that `text` is."""
    return parse_config(text, "c.yaml", environ=environ)


def problems(text: str, **environ: str) -> list[str]:
    """Return the mistakes in `text`, each with its place; there have to be some.

    Unknown keys are among them.
    """
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "c.yaml", environ=environ, unknown="errors")
    return [str(problem) for problem in caught.value.problems]


def with_model(keys: str = "", top: str = "") -> str:
    """Return a text with the top-level keys `top` and one model, `a`, that has `keys`, too."""
    return f"{top}\nmodels: {{a: {{cmd: 'run ${{PORT}}', {keys}}}}}\n"


def model(keys: str = "", top: str = "", **environ: str) -> ModelConfig:
    """Return the model of `with_model`."""
    return parse(with_model(keys, top), **environ).models["a"]
