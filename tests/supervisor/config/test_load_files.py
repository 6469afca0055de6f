# ruff: noqa: E501  one mistake, one line
from pathlib import Path

import pytest

from arriero.supervisor.config.load import Config, load_config
from arriero.supervisor.config.schema.reader import UnknownKeys
from arriero.supervisor.config.yaml.tree import MAX_BYTES, MAX_REPEATED
from arriero.supervisor.errors import ConfigError
from arriero.supervisor.placement.policy import Group

RUN = "{cmd: 'run ${PORT}'}"


def load(folder: Path, *texts: str, unknown: UnknownKeys = "by file", **environ: str) -> Config:
    """Read `texts` as the files 1.yaml, 2.yaml, ... of `folder`."""
    for number, text in enumerate(texts, 1):
        (folder / f"{number}.yaml").write_text(text)
    return load_config(directory=folder, environ=environ, unknown=unknown)


def problems(folder: Path, *texts: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, *texts, unknown="errors", **environ)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


# --- what adds up -------------------------------------------------------------------------------


def test_a_file_alone_a_folder_alone_and_both_are_read(tmp_path: Path) -> None:
    file, folder = tmp_path / "main.yaml", tmp_path / "more"
    folder.mkdir()
    file.write_text(f"models: {{z: {RUN}}}")
    (folder / "b.yaml").write_text(f"models: {{b: {RUN}}}")
    (folder / "a.yml").write_text(f"models: {{a: {RUN}}}")
    assert list(load_config(file, environ={}).models) == ["z"]
    assert list(load_config(directory=folder, environ={}).models) == ["a", "b"]
    assert list(load_config(file, directory=folder, environ={}).models) == ["z", "a", "b"]


def test_macros_of_one_file_act_in_all(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "macros: {base: /srv}\nmodels: {a: {cmd: 'run ${PORT} ${file}'}}",
        "macros: {file: '${base}/x'}\nmodels: {b: {cmd: 'run ${PORT} ${base}'}}",
    )
    assert config.models["a"].command == ("run", "${PORT}", "/srv/x")
    assert config.models["b"].command == ("run", "${PORT}", "/srv")


def test_a_macro_uses_those_of_earlier_files_only(tmp_path: Path) -> None:
    (told,) = problems(
        tmp_path, "macros: {file: '${base}/x'}", f"macros: {{base: /srv}}\nmodels: {{a: {RUN}}}"
    )
    assert told.startswith("1.yaml:1:16: macros.file: unknown macro ${base}; ")


def test_ports_go_to_the_models_of_all_files_by_their_ids(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"startPort: 9000\nmodels: {{c: {RUN}, a: {RUN}}}",
        "models: {b: {cmd: 'run ${PORT}', metadata: {at: '${PORT}'}}}",
    )
    assert {name: model.port for name, model in config.models.items()} == {
        "a": 9000,
        "b": 9001,
        "c": 9002,
    }
    assert config.models["b"].metadata == {"at": 9001}
    assert config.models["b"].launch(9001).command == ("run", "9001")


def test_keys_and_other_lists_are_joined_in_the_order_of_the_files(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"apiKeys: [one]\nhooks: {{on_startup: {{preload: [b]}}}}\nupstream: {{ignorePaths: [x]}}\nmodels: {{a: {RUN}}}",
        f"apiKeys: [two, '${{env.KEY}}']\nhooks: {{on_startup: {{preload: [a]}}}}\nupstream: {{ignorePaths: [y]}}\nmodels: {{b: {RUN}}}",
        KEY="three",
    )
    assert config.api_keys == ("one", "two", "three")
    assert config.preload == ("b", "a")
    assert config.ignore_paths == ("x", "y")


def test_a_variable_of_the_environment_may_stand_in_a_list_in_brackets(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "models: {a: {cmd: 'run ${PORT}', env: [HOME=${env.HOME}, X=${env.X}], aliases: [${env.X}]}}",
        HOME="/root",
        X="y, z: {",
    )
    assert config.models["a"].env == (("HOME", "/root"), ("X", "y, z: {"))
    assert config.models["a"].aliases == ("y, z: {",)


def test_groups_of_several_files_are_all_there(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"routing: {{router: {{settings: {{groups: {{g: {{members: [a]}}}}}}}}}}\nmodels: {{a: {RUN}}}",
        f"routing: {{router: {{use: group, settings: {{groups: {{h: {{members: [b]}}}}}}}}}}\nmodels: {{b: {RUN}}}",
    )
    assert config.routing.groups == (Group("g", ("a",)), Group("h", ("b",)))


def test_names_of_one_file_may_be_used_in_another(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "selectors: {s: {strategy: pin, targets: [m, a]}}\nprofiles: {f: {pins: {y: s}}}\n",
        f"models: {{a: {RUN}}}\npeers: {{p: {{proxy: 'http://p', models: [m]}}}}\n",
    )
    assert config.selectors["s"].targets == ("m", "a")
    assert config.profiles["f"].pins == {"y": "s"}


def test_what_stands_in_one_file_only_and_the_same_value_twice_are_fine(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        f"globalTTL: 60\nmodels: {{a: {RUN}}}\ngroups:\n",
        "globalTTL: 60\nmodels:\ngroups: {g: {members: [a]}}\n",
    )
    assert config.models["a"].ttl_s == 60
    assert config.routing.groups == (Group("g", ("a",)),)


def test_files_without_a_word_are_a_configuration_without_models(tmp_path: Path) -> None:
    config = load(tmp_path, "# nothing\n", "---\n", "")
    assert (dict(config.models), config.start_port) == ({}, 5800)
    assert [warning.message for warning in config.warnings] == [
        "there are no models; write at least one under 'models:'"
    ]


def test_files_may_have_their_own_anchors(tmp_path: Path) -> None:
    anchored = "defs: &d {ttl: %d}\nmodels: {%s: {<<: *d, cmd: 'run ${PORT}'}}\n"
    config = load(tmp_path, "d1" + anchored % (1, "a"), "d2" + anchored % (2, "b"))
    assert [model.ttl_s for model in config.models.values()] == [1, 2]


# --- what does not ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"models:\n  a: {RUN}\n", "models.a"),
        ("groups:\n  g: {members: []}\n", "groups.g"),
        ("peers:\n  p: {proxy: 'http://p', models: [m]}\n", "peers.p"),
        ("selectors:\n  s: {strategy: pin, targets: [p/m]}\n", "selectors.s"),
        ("profiles:\n  f: {pins: {y: p/m}}\n", "profiles.f"),
    ],
)
def test_what_has_a_name_cannot_be_in_two_files(tmp_path: Path, text: str, path: str) -> None:
    told = [one for one in problems(tmp_path, text, text) if one.startswith("2.yaml")]
    assert len(told) == 1
    assert told[0].startswith(f"2.yaml:2:3: {path}: {path.partition('.')[2]!r} is in ")
    assert "1.yaml:2 already; " in told[0]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("startPort: 1", "startPort: 2", "2.yaml:1:12: startPort: found another value than in 1.yaml:1; keep one of them"),
        ("startPort: 1", "startPort: [1]", "2.yaml:1:12: startPort: found a list, but 1.yaml:1 has a single value; keep one of them"),
        ("macros: {x: 1}", "macros: {x: '1', y: ~}", "2.yaml:1:13: macros.x: found another value than in 1.yaml:1; keep one of them"),
    ],
)  # fmt: skip
def test_files_that_disagree_are_told_apart(
    tmp_path: Path, one: str, other: str, told: str
) -> None:
    assert told in problems(tmp_path, one, other, f"models: {{a: {RUN}}}")


def test_an_alias_that_two_files_give_is_told_where_it_stands(tmp_path: Path) -> None:
    text = "models:\n  %s: {cmd: 'run ${PORT}', aliases: [x]}\n"
    assert problems(tmp_path, text % "a", text % "b") == [
        "2.yaml:2:37: models.b.aliases: 'x' is an alias of 'a' already"
    ]


def test_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "startPort: x\nmodels: {a: {cmd: 'run ${PORT}', ttl: y}}",
        "models: {b: {",
        "- a list",
        f"models: {{c: {RUN}}}\nnope: 1",
    )
    assert [text.split(": ")[0] for text in told] == [
        "1.yaml:1:12",
        "1.yaml:2:39",
        "2.yaml:2:1",
        "3.yaml:1:1",
        "4.yaml:2:1",
    ]


def test_lenient_makes_warnings_of_unknown_keys_of_all_files(tmp_path: Path) -> None:
    config = load(tmp_path, "nope: 1", f"models: {{a: {RUN}}}\nstartport: 1", unknown="warnings")
    told = [
        str(warning).replace(f"{tmp_path}/", "").partition("; ")[0] for warning in config.warnings
    ]
    assert told == ["1.yaml:1:1: unknown key 'nope'", "2.yaml:2:1: unknown key 'startport'"]


def test_a_file_that_is_too_large_is_told_with_the_mistakes_of_the_others(tmp_path: Path) -> None:
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    told = problems(tmp_path, "nope: 1")
    assert [text.split(": ")[0] for text in told] == ["1.yaml:1:1", "large.yaml"]


# --- mistakes that hide others ------------------------------------------------------------------


def test_a_key_that_stands_twice_hides_no_other_mistake(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        f"models:\n  a: {RUN}\n  a: {RUN}\n  b: {{cmd: 'x ${{PORT}}', ttl: x}}\nfoo: 1\nfoo: 2\n",
    )

    assert [one.split(": ")[0] for one in told] == [
        "1.yaml:3:3",
        "1.yaml:4:30",
        "1.yaml:5:1",
        "1.yaml:6:1",
    ]
    assert "the key 'a' stands here a second time (first in line 2)" in told[0]


def test_a_file_full_of_keys_that_stand_twice_is_soon_told(tmp_path: Path) -> None:
    told = problems(tmp_path, "models: {}\n" * 1000)

    assert len(told) == MAX_REPEATED + 1


@pytest.mark.parametrize("text", ["\tx: [}", "models: [", "- 1"])
def test_nothing_is_said_of_models_that_may_be_in_what_cannot_be_read(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "1.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "1.yaml", environ={})

    assert len(caught.value.problems) == 1
    assert not caught.value.warnings
