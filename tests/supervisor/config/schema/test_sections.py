"""One field is one key: what goes by the fields of a section finds a new one."""

import importlib.util
from dataclasses import fields
from types import ModuleType

import pytest

from arriero.protocol.worker_config import ModelRoute, PeerRoute, WorkerConfig
from arriero.supervisor.config.diff import changed_fields
from arriero.supervisor.config.document import every_key
from arriero.supervisor.config.model_config import MODEL, ModelConfig
from arriero.supervisor.config.names import PeerConfig
from arriero.supervisor.config.schema.immutable import immutable
from arriero.supervisor.config.schema.reader import NOT_YET, Place, Reading
from arriero.supervisor.config.schema.sections import ConfigSection, key, section
from arriero.supervisor.config.schema.types import BOOLEAN, duration, integer
from arriero.supervisor.config.values import CONFIG, Config
from arriero.supervisor.config.worker_config import taken_from
from arriero.supervisor.config.yaml.tree import parse_yaml
from arriero.supervisor.config.yaml.write import write_yaml
from tests.paths import ROOT
from tests.supervisor.config.reading import parse


@immutable
class MoreConfig(Config):
    nap_time_s: float = key(duration(0, 60), 5.0, "How long arriero naps.", written="5s")
    pillows: int = key(integer(0, 9), 3, "How many it takes.", is_folded=True)
    is_loud: bool = key(BOOLEAN, False, "It snores.", name="hooks.on_nap.snore", acts=NOT_YET)


@immutable
class MoreModel(ModelConfig):
    nap_time_s: float = key(duration(0, 60), 5.0, "As above.", without="the same", inherits=True)
    pillows: int = key(integer(-1, 9), -1, "-1 as above.", inherits=True, unset=-1)


class MoreWorkerConfig(WorkerConfig, frozen=True, kw_only=True):
    nap_time_s: float


MORE = section(MoreConfig, within={**CONFIG.within, "hooks.on_nap": "At a nap."})
MORE_MODEL = section(MoreModel, named_by="model", within=MODEL.within)


def read(text: str, whole: ConfigSection[MoreConfig] = MORE) -> tuple[MoreConfig, list[str]]:
    """Return what `text` is, and all that is told of it."""
    root = parse_yaml(text, "c.yaml")
    assert root is not None
    reading = Reading("c.yaml", {"NAP": "7s"})
    config = whole.read(root, Place(reading))
    return config, [str(found) for found in (*reading.problems, *reading.idle.values())]


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    """The generator of the page on all keys."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "nap_time_s"),
    [
        ("workers: 2", 5.0),
        ("napTime: 250ms", 0.25),
        ("napTime:", 5.0),
        ("napTime: '${env.NAP}'", 7),
    ],
)
def test_new_key_is_read_or_has_its_default(text: str, nap_time_s: float) -> None:
    config, told = read(text)
    assert (config.nap_time_s, told) == (nap_time_s, [])


def test_mistakes_in_new_keys_are_told_with_their_places() -> None:
    config, told = read("napTime: long\nhooks: {on_nap: {snore: 3, snort: 1}}\nnapTme: 1s\n")
    assert config == MORE.default
    assert told == [
        "c.yaml:1:10: napTime: found the text 'long'; write a duration from 0s to 60s, such as "
        "250ms or 1m30s",
        "c.yaml:2:25: hooks.on_nap.snore: found the number 3; write true or false",
        "c.yaml:2:28: hooks.on_nap: unknown key 'snort'; did you mean 'snore'?",
        "c.yaml:3:1: unknown key 'napTme'; did you mean 'napTime'?",
        "c.yaml:2:18: hooks.on_nap.snore: this is read and checked, but nothing acts on it yet",
    ]


def test_new_key_is_in_the_schema() -> None:
    properties = MORE.type.schema["properties"]
    assert properties["napTime"]["description"] == "How long arriero naps."
    assert properties["napTime"]["default"] == "5s"
    hooks = properties["hooks"]["properties"]
    assert hooks["on_nap"]["description"] == "At a nap."
    assert hooks["on_nap"]["properties"]["snore"]["default"] is False
    assert (
        hooks["on_startup"] == CONFIG.type.schema["properties"]["hooks"]["properties"]["on_startup"]
    )


def test_new_key_is_on_the_page(docs: ModuleType) -> None:
    leaves = [(path, found) for path, found in every_key(MORE.keys) if not found.type.has_keys]
    rows = [[cell.strip() for cell in row.split(" | ")] for row in docs.table(leaves)]
    takes = "a duration from 0s to 60s, such as 250ms or 1m30s"
    assert ["| `napTime` *own*", takes, "`5s`", "0.1", "How long arriero naps. |"] in rows
    assert [
        "| `hooks.on_nap.snore` *own*",
        "true or false",
        "`false`",
        NOT_YET,
        "It snores. |",
    ] in rows


def test_new_key_is_dumped_and_read_again() -> None:
    config, _ = read("napTime: 1m\nhooks: {on_nap: {snore: yes}}")
    written = MORE.write(config)
    assert (written["napTime"], written["hooks"]) == (
        "60s",
        {"on_startup": {"preload": []}, "on_nap": {"snore": True}},
    )
    assert read(write_yaml(written))[0] == config


def test_new_key_is_found_changed() -> None:
    (old, _), (new, _) = read("workers: 2"), read("workers: 2\nnapTime: 1s")
    assert MORE.names(changed_fields(old, new)) == ("napTime",)


def test_new_key_is_inherited() -> None:
    owner, _ = read("napTime: 9s")
    defaults = MORE_MODEL.defaults_under(owner)
    reading = Reading("c.yaml", {})
    for text, found in (
        ("{}", (9.0, 3)),
        ("{napTime: 0, pillows: 0}", (0.0, 0)),
        ("{napTime: 1s, pillows: -1}", (1.0, 3)),
    ):
        node = parse_yaml(text)
        assert node is not None
        values = MORE_MODEL.values(node, Place(reading), defaults)
        model = MORE_MODEL.make({**values, "model": "a"})
        assert (model.nap_time_s, model.pillows) == found
    assert reading.problems == []


def test_new_key_reaches_the_workers() -> None:
    config, _ = read("napTime: 9s")
    own: dict[str, object] = {
        "models": (),
        "client_keys": (),
        "peers": {},
        "peer_models": {},
        "places": {},
        "selectors": (),
        "profiles": (),
        "session_headers": (),
        "log_requests": False,
        "combined_log": "none",
        "capture_body_bytes": 0,
    }
    found = taken_from(config, MoreWorkerConfig, generation=1, profile=None, **own)
    assert (found.nap_time_s, found.marker) == (9.0, config.marker)


def test_workers_know_keys_by_the_same_names() -> None:
    """Those that are worked out, or stand in a section, are few."""
    for route, config, own in (
        (
            WorkerConfig,
            Config,
            {"generation", "profile", "session_headers", "capture_body_bytes"}
            | {"log_requests", "combined_log", "places"},
        ),
        (ModelRoute, ModelConfig, {"remote", "last_seen"}),
        (PeerRoute, PeerConfig, {"wake_s", "progress", "strict"}),
    ):
        names = {found.name for found in fields(config)}
        assert set(route.__struct_fields__) - names == own


def test_a_name_is_that_of_the_field_unless_another_is_said() -> None:
    names = {leaf.field: leaf.name for leaf in MODEL.leaves}
    assert names["health_check_timeout_s"] == "healthCheckTimeout"
    assert names["ttl_s"] == "ttl"
    assert names["send_as"] == "useModelName"
    assert {leaf.field: leaf.name for leaf in CONFIG.leaves}["max_body_bytes"] == "maxBody"


def test_what_is_folded_into_others_is_no_change_and_not_shown() -> None:
    one, other = parse("globalTTL: 5"), parse("progress: off")
    assert one == other
    assert repr(one) == repr(other)
