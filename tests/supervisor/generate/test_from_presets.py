"""Presets of llama-server's router become configurations that the real reader takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.supervisor.config.load import parse_config
from arriero.supervisor.generate.from_presets import import_presets
from arriero.supervisor.llamacpp.options import OPTIONS

SERVER = ("llama-server", "--host", "127.0.0.1", "--port", "${PORT}")


def commands(text: str) -> dict[str, tuple[str, ...]]:
    """Return what each model's command has beyond the server itself."""
    config = parse_config(import_presets(text).text, environ={})
    assert not config.warnings
    assert all(model.command[:5] == SERVER for model in config.models.values())
    return {name: model.command[5:] for name, model in config.models.items()}


def remarks(text: str) -> list[str]:
    return [str(remark) for remark in import_presets(text).remarks]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("ctx-size = 4096", ("--ctx-size", "4096")),
        ("c = 4096", ("--ctx-size", "4096")),
        ("LLAMA_ARG_CTX_SIZE = 4096", ("--ctx-size", "4096")),
        ("temperature = 0.5", ("--temperature", "0.5")),
        ("flash-attn = on", ("--flash-attn", "on")),
        ("jinja = true", ("--jinja",)),
        ("jinja = off", ("--no-jinja",)),
        ("no-mmap = 1", ("--no-mmap",)),
        ("no-mmap = 0", ("--mmap",)),
        ("nkvo = enabled", ("--no-kv-offload",)),
        ("metrics = 1", ("--metrics",)),
        ("metrics = 0", ()),
        ('chat-template-kwargs = {"a": "b c"}', ("--chat-template-kwargs", '{"a": "b c"}')),
        ("grammar = it's ${x} \\", ("--grammar", "it's ${x} \\")),
        ("tags =", ("--tags", "")),
    ],
)
def test_a_setting_becomes_an_option(setting: str, words: tuple[str, ...]) -> None:
    text = f"[m]\nmodel = /m.gguf\n{setting}\n"

    assert commands(text) == {"m": ("--model", "/m.gguf", *words)}
    assert not remarks(text)


@pytest.mark.parametrize(
    ("setting", "remark"),
    [
        ("host = 0.0.0.0", "line 3: host was left out: arriero chooses"),
        ("LLAMA_ARG_PORT = 80", "line 3: LLAMA_ARG_PORT was left out: arriero chooses"),
        ("api-key = s3cret", "line 3: api-key was left out: clients show their keys"),
        ("models-max = 1", "line 3: models-max was left out: it is for"),
        ("list-devices = 1", "line 3: list-devices was left out: it prints"),
        ("stop-timeout = soon", "line 3: stop-timeout was left out: it is not a whole number"),
        ("alias = a\x1bb", "line 3: alias was left out"),
        ("alias = m", "line 1: alias 'm' was left out: it is a name already"),
    ],
)
def test_what_is_left_out_is_told(setting: str, remark: str) -> None:
    text = f"[m]\nmodel = /m.gguf\n{setting}\n"

    (told,) = remarks(text)
    assert told.startswith(remark)
    assert "s3cret" not in told
    assert f"#   {told}"[:60] in import_presets(text).text
    assert commands(text) == {"m": ("--model", "/m.gguf")}


def test_an_unknown_option_is_kept_and_told() -> None:
    text = "[m]\nmodel = /m\ntemprature = 0.5\nbrand-new = true\nLLAMA_ARG_NEW = 1\n"

    config = parse_config(import_presets(text).text, environ={})

    assert commands(text)["m"][2:] == ("--temprature", "0.5", "--brand-new")
    assert config.models["m"].env == (("LLAMA_ARG_NEW", "1"),)
    assert "did you mean temperature?" in remarks(text)[0]
    assert len(remarks(text)) == 3


def test_global_settings_are_a_macro_but_those_that_a_model_says_otherwise() -> None:
    text = (
        "[*]\nc = 8192\nngl = 99\nmetrics = 1\n"
        "[a]\nm = /a\nctx-size = 1\nmetrics = 0\n[b]\nm = /b\n"
    )

    assert commands(text) == {
        "a": ("--n-gpu-layers", "99", "--ctx-size", "1", "--model", "/a"),
        "b": ("--n-gpu-layers", "99", "--ctx-size", "8192", "--metrics", "--model", "/b"),
    }
    assert "    --n-gpu-layers 99\n\nmodels:" in import_presets(text).text


def test_what_is_for_presets_only_has_its_own_keys() -> None:
    text = "[m]\nm = /m\nload-on-startup = true\nstop-timeout = 30\nalias = x, y\n[n]\nm = /n\n"

    config = parse_config(import_presets(text).text, environ={})

    assert config.preload == ("m",)
    assert config.models["m"].unload_timeout_s == 30
    assert config.models["m"].aliases == ("x", "y")


def test_a_section_that_names_a_repository_needs_no_model() -> None:
    assert commands("[org/repo:Q8_0]\nc = 1\n") == {
        "org/repo:Q8_0": ("--ctx-size", "1", "--hf-repo", "org/repo:Q8_0")
    }


def test_a_section_without_any_model_is_left_out() -> None:
    imported = import_presets("[m]\nc = 1\n")

    assert imported.models == 0
    assert str(imported.remarks[0]).startswith("line 1: section [m] was left out: it says neither")


def test_the_later_of_two_names_for_one_option_counts() -> None:
    text = "[m]\nm = /m\nc = 1\nctx-size = 2\n"

    assert commands(text)["m"] == ("--model", "/m", "--ctx-size", "2")
    assert remarks(text) == ["line 4: ctx-size was set in line 3; this one counts"]


SETTINGS = st.builds(
    "{} = {}".format,
    st.sampled_from([*sorted(OPTIONS), "load-on-startup", "stop-timeout", "xyz", "LLAMA_X", "x.y"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["1", "off", "${PORT}", "$${x}", "'", "a b", "\\", "é,b"]),
)
LINES = st.one_of(
    SETTINGS,
    st.sampled_from(
        ["[*]", "[a]", "[a/b]", "[${x}]", "[- x]", "m = /m", "junk", "LLAMA_a.b-c = 1"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10).map("[{}]".format),
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=30).map("\n".join))
def test_whatever_is_imported_can_be_loaded_without_a_warning(text: str) -> None:
    imported = import_presets(text)

    if imported.models:
        config = parse_config(imported.text, environ={})
        assert len(config.models) == imported.models
        assert not config.warnings
