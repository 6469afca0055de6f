import contextlib
import re
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from arriero.supervisor.config.dump import dump
from arriero.supervisor.config.load import Config, load_config, parse_config
from arriero.supervisor.config.schema.reader import Key, UnknownKeys, ValueType
from arriero.supervisor.config.values import CONFIG
from arriero.supervisor.config.yaml.write import write_yaml
from arriero.supervisor.errors import ConfigError, Problem
from tests.examples import examples
from tests.supervisor.config.reading import parse
from tests.supervisor.config.strategies import configurations

# Building a large value takes longer than looking at it: a twentieth of a second for a whole
# configuration.
relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck))
fewer = settings(relaxed, max_examples=examples(10, 40))

UNKNOWN = st.sampled_from(get_args(UnknownKeys))


# --- what is dumped is read again -----------------------------------------------------------------


@fewer
@given(configurations())
def test_a_dumped_configuration_loads_to_an_equal_one(pieces: dict[str, Any]) -> None:
    try:
        config = parse(write_yaml(pieces))
    except ConfigError:
        event("not valid")
        return
    event("valid")

    again = parse(dump(config))

    assert again == config
    assert dump(again) == dump(config)  # also where Python takes 1, 1.0 and True for the same


# --- whatever stands there ------------------------------------------------------------------------


LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # as YAML 1.1 has them


def check(problem: Problem, texts: dict[str, str]) -> None:
    """See that the place of `problem` is one of `texts`."""
    assert problem.message
    if problem.line == 0:
        assert problem.source in {*texts, ", ".join(texts)}
        return
    # The end of a file that does not end in a line end is told as the line after it.
    lines = LINE_END.split(texts[problem.source] + "\n")
    assert 1 <= problem.line <= len(lines)
    assert problem.column >= 1


def told_by(read: Callable[[], Config]) -> tuple[Problem, ...]:
    """Return all that is told by reading a configuration; see that there is one, or a mistake."""
    try:
        config = read()
    except ConfigError as exc:
        return exc.problems or pytest.fail("there is an error, but no mistake")
    assert parse(dump(config)) == config
    return (*config.warnings, *config.notes)


def check_text(text: str, *, unknown: UnknownKeys) -> None:
    """See that `text` is a configuration, or one error with problems."""
    read = partial(parse_config, text, "c", environ={"HOME": "/root"}, unknown=unknown)
    for problem in told_by(read):
        check(problem, {"c": text})


def names_of(kinds: list[ValueType[Any]]) -> set[str]:
    names: set[str] = set()
    for kind in kinds:
        names |= {name for key in kind.keys for name in key.spellings}
        names |= names_of([key.type for key in kind.keys] + ([kind.each] if kind.each else []))
    return names


NAMES = sorted(names_of([CONFIG.type]))
USED = st.sampled_from(
    ["a", "b", "a/b", "run ${PORT}", "${x}", "${PORT}", "${MODEL_ID}", "${env.HOME}", "$${",
     "http://h", "${env.NO}", "none", "pin", "spillover", "matrix", "true", "",
     "a & b", "+a", "5s", ":1", "a=b"]
)  # fmt: skip
SINGLES = USED | st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SINGLES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | USED, inner, max_size=4)
    ),
    max_leaves=10,
)


def shaped(kind: ValueType[Any]) -> st.SearchStrategy[Any]:
    """Values for `kind`: most of them mappings and lists where it wants some."""
    if kind.keys:
        return members(kind.keys) | VALUES
    if kind.each is not None:
        each = shaped(kind.each)
        return st.dictionaries(USED, each, max_size=3) | st.lists(each, max_size=3) | VALUES
    return SINGLES


def members(keys: tuple[Key, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={name: shaped(key.type) for key in keys for name in key.spellings}
    )


DOCUMENTS = st.dictionaries(st.sampled_from(NAMES), VALUES) | members(CONFIG.keys)


@given(st.text(), UNKNOWN)
def test_any_text_is_a_configuration_or_an_error_with_problems(
    text: str, unknown: UnknownKeys
) -> None:
    check_text(text, unknown=unknown)


PIECES = st.sampled_from(
    ["models", "cmd", "peers", "&a", "*a", "<<", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}",
     ",", "'", '"', "|", ">", "?", "!", "!!int", "#", "---", "...", "%", "@", "${", "${x}", "\t",
     "\r", "\0", "\ufeff", "\x85", "\u2028", "\ud800", "1", "~"]
)  # fmt: skip


@given(st.lists(PIECES).map("".join), UNKNOWN)
def test_any_pieces_of_yaml_are_too(text: str, unknown: UnknownKeys) -> None:
    check_text(text, unknown=unknown)


@relaxed
@given(DOCUMENTS, UNKNOWN)
def test_any_values_under_the_real_keys_are_too(
    pieces: dict[str, Any], unknown: UnknownKeys
) -> None:
    check_text(write_yaml(pieces), unknown=unknown)


@fewer
@given(st.lists(configurations() | DOCUMENTS, min_size=1, max_size=3), UNKNOWN)
def test_several_files_are_a_configuration_or_an_error_with_problems_in_them(
    documents: list[dict[str, Any]], unknown: UnknownKeys
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts = {f"{folder}/{number}.yaml": write_yaml(one) for number, one in enumerate(documents)}
        for name, text in texts.items():
            Path(name).write_bytes(text.encode(errors="surrogatepass"))
        read = partial(load_config, directory=Path(folder), environ={}, unknown=unknown)
        for problem in told_by(read):
            check(problem, texts)


# --- how much of it -------------------------------------------------------------------------------


def many_models(count: int) -> str:
    """Return a configuration as people write them, with `count` models."""
    top = "macros:\n  base: /models\n  server: llama-server --port ${PORT} -ngl 99\nmodels:\n"
    return top + "".join(
        f"""\
  org/model-{number}:
    macros: {{quant: q4_k_m}}
    cmd: |
      # the usual one
      ${{server}} -m ${{base}}/{number}-${{quant}}.gguf
      -c 8192
    env: [CUDA_VISIBLE_DEVICES=0]
    aliases: [m-{number}]
    ttl: 600
    filters: {{stripParams: top_k, setParams: {{temperature: 0.7}}}}
    metadata: {{family: qwen, context: 8192, file: '${{base}}'}}
"""
        for number in range(count)
    )


def seconds_for(text: str) -> float:
    """Return the time of this process that reading `text` takes, at best."""
    times = []
    for _ in range(3):
        before = time.process_time()
        with contextlib.suppress(ConfigError):
            parse_config(text, environ={}, unknown="warnings")
        times.append(time.process_time() - before)
    return min(times)


MISTAKES = {
    "none": ("", ""),
    "an unknown key in each": ("ttl:", "tttl:"),
    "an unknown macro in each": ("${quant}", "${quand}"),
    "a wrong value in each": ("ttl: 600", "ttl: [600]"),
    "the same alias in each": ("[m-", "[m, m-"),
}


@pytest.mark.nightly
@pytest.mark.parametrize("mistake", MISTAKES)
def test_eight_times_as_many_models_take_about_eight_times_as_long(mistake: str) -> None:
    written, wrong = MISTAKES[mistake]
    some, many = (many_models(count).replace(written, wrong) for count in (40, 320))

    assert seconds_for(many) < 24 * seconds_for(some)  # not 64 times: it grows with the number


def test_a_thousand_models_are_all_there() -> None:
    config = parse(many_models(1000))
    assert len(config.models) == 1000
    assert config.models["org/model-7"].command[5:] == ("-m", "/models/7-q4_k_m.gguf", "-c", "8192")
    assert config.models["org/model-7"].metadata["file"] == "/models"


def laughs(first: str, levels: int) -> str:
    """Return anchors of which each one stands for ten of the one before it."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (laughs("ha", 30), "there are more than 1000000 values in it"),
        (
            laughs("'" + "ha" * 10**6 + "'", 3)
            + "\nmodels: {a: {cmd: 'run ${PORT}', metadata: {a: *a2}}}",
            "anchors or macros make more of this than fits",
        ),
        ("a: " + "[" * 10**6, "values are nested deeper than 64"),
        ("# " + "x" * 100 * 2**20, "the file is larger than 8 MB"),
    ],
    ids=["anchors", "a long text", "brackets", "100 MB"],
)  # fmt: skip
def test_what_would_fill_the_memory_is_refused(text: str, told: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=told):
            parse(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(text) + 100 * 2**20
