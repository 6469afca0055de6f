from dataclasses import dataclass
from pathlib import Path

import pytest

from arriero.supervisor.config.lint.findings import Findings
from arriero.supervisor.config.lint.lint import Advice, advise, homes, with_findings
from arriero.supervisor.config.yaml.tree import parse_yaml
from tests.supervisor.config.reading import parse


@dataclass(frozen=True)
class Disk:
    """A machine that has all but this."""

    lacks: str = ""

    def is_file(self, path: Path) -> bool:
        return str(path) not in self.lacks.split()

    def is_program(self, name: str, path: str | None) -> bool:
        return name not in self.lacks.split() and path != self.lacks


def advice(text: str, lacks: str = "") -> Advice:
    root = parse_yaml(text, "c.yaml")
    assert root is not None
    return advise(parse(text), root, Disk(lacks))


def warnings(text: str, lacks: str = "") -> list[str]:
    return [str(found) for found in advice(text, lacks).warnings]


def of_model(keys: str, lacks: str = "") -> list[str]:
    """Return the messages on a model with `keys`, without their places."""
    return [found.message for found in advice(f"models:\n  a: {{{keys}}}\n", lacks).warnings]


def of_models(keys: str, **models: str) -> list[str]:
    """Return ``path: message`` for each warning on `models`."""
    lines = [f"  {model}: {{{given}}}" for model, given in models.items()]
    found = advice("\n".join((keys, "models:", *lines))).warnings
    return [f"{one.path}: {one.message}" for one in found]


# --- a command that is more than a program --------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", ["| tee log", "&& echo", "|| true", "; echo", "> log", ">>log", "2>&1", "2>/x", "&",
               "&> log", "< in", ">$HOME/log"]
)  # fmt: skip
def test_there_is_no_shell_for_what_is_written_for_one(syntax: str) -> None:
    (told,) = of_model(f"cmd: 'run ${{PORT}} {syntax}'")

    assert told.startswith(repr(syntax.split()[0]))
    assert "there is no shell; write sh -c" in told


@pytest.mark.parametrize(
    "command",
    [
        "docker run --rm -p ${PORT}:8080 img",
        "/usr/bin/podman run img ${PORT}",
        "sudo docker run img ${PORT}",
        "docker compose run img ${PORT}",
        "docker --context x run img ${PORT}",
    ],
)
def test_a_container_needs_a_command_that_ends_it(command: str) -> None:
    (told,) = of_model(f"cmd: '{command}'")

    assert "write cmdStop: " in told


# --- one model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        "cmd: 'llama-server --port ${PORT} -m /m.gguf'",
        "cmd: 'llama-server --port ${PORT} --host 0.0.0.0'",
        "cmd: llama-server, env: ['LLAMA_ARG_PORT=${PORT}']",
        "cmd: llama-server --port 9000, proxy: 'http://127.0.0.1:9000'",
        "cmd: llama-server --port 9000, proxy: 'http://localhost:9000/v1'",
        "cmd: llama-server, proxy: 'http://[::1]:8080'",
        "cmd: llama-server --port 80, proxy: 'http://localhost'",
        "cmd: llama-server --host 10.0.0.1, proxy: 'http://10.0.0.1:8080'",
        "cmd: docker exec x --port 8080, proxy: 'http://127.0.0.1:9000'",
        "cmd: python -m server --port 1, proxy: 'http://127.0.0.1:2'",
        "cmd: 'x run -p ${PORT}:80 x', proxy: 'http://127.0.0.1:${PORT}'",
        "cmd: 'run ${PORT}', proxy: 'http://10.0.0.1:9000'",
        "cmd: 'sh -c \"a | b && c > d\" ${PORT}'",
        "cmd: 'llama-server --port ${PORT} -r <|eot|> -r <x> --x a;b'",
        "cmd: 'docker run -p ${PORT}:80 --name x y', cmdStop: docker stop x",
        "cmd: 'docker exec x run ${PORT}'",
        "cmd: 'run ${PORT} docker run'",
    ],
)
def test_what_may_be_meant_is_no_warning(keys: str) -> None:
    listen = "listen: 127.0.0.1:7\n"

    assert warnings(f"{listen}models: {{a: {{{keys}}}}}", lacks="/other") == []


def test_a_missing_program_is_told_with_the_line_of_its_command() -> None:
    text = "models:\n  a:\n    ttl: 5\n    cmd: run ${PORT}\n"

    assert warnings(text, lacks="run") == [
        "c.yaml:4:10: models.a.cmd: there is no program 'run'; install it, or write its whole path"
    ]


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("/opt/run", "'/opt/run'; write the path of a file that may be executed"),
        ("~/run", "'~/run' (there is no shell, so ~ and $ stand for nothing)"),
        ("HF_TOKEN=geheim", "'HF_TOKEN=***'; install it"),
    ],
)
def test_what_is_told_of_a_missing_program_fits_it(program: str, told: str) -> None:
    (message,) = of_model(f"cmd: '{program} ${{PORT}}'", lacks=program)

    assert told in message


def test_a_program_is_looked_for_where_the_model_says() -> None:
    keys = "cmd: 'run ${PORT}', env: [PATH=/one, PATH=/two]"

    assert of_model(keys, lacks="/two")
    assert not of_model(keys, lacks="/one")


def test_missing_files_are_told_together() -> None:
    command = "llama-server --port ${PORT} -m /m.gguf --mmproj /p --lora /l,/here"

    assert of_model(f"cmd: '{command}'", lacks="/m.gguf /p /l") == [
        "there is no file '/m.gguf', '/p', '/l'"
    ]


@pytest.mark.parametrize(("count", "end"), [(4, "gguf'"), (5, "gguf' and 1 more")])
def test_of_many_missing_files_some_are_told(count: int, end: str) -> None:
    parts = [f"/m-0000{part}-of-0000{count}.gguf" for part in range(1, count + 1)]

    (message,) = of_model(
        f"cmd: 'llama-server --port ${{PORT}} -m {parts[0]}'", lacks=" ".join(parts)
    )

    assert message.endswith(f"'/m-00004-of-0000{count}.{end}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("~/m.gguf", " (there is no shell, so ~ and $ stand for nothing)"),
        ("$HOME/m.gguf", " (there is no shell, so ~ and $ stand for nothing)"),
        ("m.gguf", ", seen from the folder in which this runs; write its whole path"),
    ],
)
def test_why_a_file_may_be_missing_is_told(name: str, hint: str) -> None:
    found = of_model(f"cmd: 'llama-server --port ${{PORT}} -m {name}'", lacks=name)

    assert found == [f"there is no file '{name}'{hint}"]


@pytest.mark.parametrize(
    ("keys", "path", "told"),
    [
        (
            "cmd: llama-server --port 9000, proxy: 'http://127.0.0.1:9001'",
            "cmd",
            "the server listens on port 9000, but arriero asks on port 9001;",
        ),
        (
            "cmd: 'llama-server --port 9000 -a x${PORT}'",
            "cmd",
            "the server listens on port 9000, but arriero asks on port ${PORT};",
        ),
        (
            "cmd: llama-server, proxy: 'http://127.0.0.1:9001'",
            "cmd",
            "the server is told no port and listens on 8080, but arriero asks on port 9001;",
        ),
        (
            "cmd: 'llama-server --port ${PORT}', proxy: 'http://127.0.0.1:9001'",
            "proxy",
            "the server listens on port ${PORT}, but arriero asks on port 9001;",
        ),
        (
            "cmd: llama-server, env: [LLAMA_ARG_PORT=9], proxy: 'http://127.0.0.1:9001'",
            "cmd",
            "the server listens on the port of LLAMA_ARG_PORT, but arriero asks on port 9001;",
        ),
        (
            "cmd: 'run ${PORT}', proxy: 'https://localhost'",
            "proxy",
            "arriero asks on port 443, but the server is given ${PORT},",
        ),
        (
            "cmd: run, env: ['P=${PORT}'], proxy: 'http://localhost:1'",
            "proxy",
            "arriero asks on port 1, but the server is given ${PORT},",
        ),
        (
            "cmd: 'llama-server --port ${PORT} --host 10.0.0.1'",
            "cmd",
            "the server listens on another address than that of proxy",
        ),
        (
            "cmd: 'llama-server --port ${PORT} --host 127.0.0.1', env: [A=b, LLAMA_ARG_HOST=x]",
            "env",
            "LLAMA_ARG_HOST is another address than that of --host in cmd",
        ),
        (
            "cmd: 'llama-server --port ${PORT}', env: [A=b, LLAMA_ARG_PORT=9]",
            "env",
            "LLAMA_ARG_PORT is another port than that of --port in cmd",
        ),
    ],
)
def test_a_server_that_listens_elsewhere_is_told(keys: str, path: str, told: str) -> None:
    (found,) = advice(f"models:\n  a: {{{keys}}}\n").warnings

    assert found.path == f"models.a.{path}"
    assert found.message.startswith(told)


def test_a_warning_on_an_entry_of_a_list_has_its_place() -> None:
    text = """
models:
  a:
    cmd: llama-server --port ${PORT}
    env:
      - A=b
      - LLAMA_ARG_PORT=9
"""
    (found,) = advice(text).warnings

    assert (found.line, found.column) == (7, 9)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("a",), (1, 1)),
        (("a", "b"), (2, 3)),
        (("a", "b", "c"), (3, 8)),
        (("a", "b", "d"), (4, 5)),
        (("a", "e", 1), (7, 7)),
        (("a", "b", "none"), (2, 3)),
        (("a", "b", "c", "none"), (3, 5)),
        (("a", "b", 0), (2, 3)),
    ],
)
def test_everything_has_a_place_and_what_is_not_there_the_nearest(
    path: tuple[str | int, ...], place: tuple[int, int]
) -> None:
    root = parse_yaml("a:\n  b:\n    c: 1\n    d:\n  e:\n    - x: y\n    - z\n")
    assert root is not None
    found = Findings(root)

    found.warn(path, "it is so")

    assert [(one.line, one.column) for one in found.warnings] == [place]


def test_a_name_that_cannot_be_printed_is_quoted_in_a_path() -> None:
    text = 'routing: {router: {settings: {groups: {"g\\u202e": {members: []}}}}}\nmodels: {}'

    assert [found.path for found in advice(text).warnings] == [
        "routing.router.settings.groups.'g\\u202e'"
    ]


# --- models beside each other ---------------------------------------------------------------------

ON_9000 = "cmd: run, proxy: 'http://127.0.0.1:9000'"
SHARED = "and both may run at the same time; write ${PORT} in cmd and proxy of one of them"


@pytest.mark.parametrize(
    ("routing", "clash"),
    [
        ("", False),
        ("groups: {g: {members: [a, b]}}", False),
        ("groups: {g: {members: [a, b], swap: false}}", True),
        ("groups: {g: {members: [b]}}", False),
        ("groups: {g: {members: [b], exclusive: false}}", True),
        ("groups: {g: {members: [a], persistent: true}}", True),
        ("matrix: {sets: {s: a | b}}", False),
        ("matrix: {sets: {s: a & b}}", True),
    ],
)
def test_one_port_is_a_clash_only_for_models_that_may_meet(routing: str, clash: bool) -> None:
    found = of_models(routing, a=ON_9000, b=ON_9000)

    assert found == ([f"models.b.proxy: 'a' has port 9000, too, {SHARED}"] if clash else [])


def test_each_model_is_told_of_one_clash_and_different_addresses_are_none() -> None:
    together = "groups: {g: {swap: false, members: [a, b, c, d]}}"
    elsewhere = "cmd: run, proxy: 'http://10.0.0.1:9000'"

    found = of_models(together, a=ON_9000, b=ON_9000, c=ON_9000, d=elsewhere)

    assert found == [
        f"models.{model}.proxy: 'a' has port 9000, too, {SHARED}" for model in ("b", "c")
    ]


# --- who gets in ----------------------------------------------------------------------------------


MEANT = "publicWithoutKeys: true"
KEYS = "apiKeys: [k]"


@pytest.mark.parametrize("key", ["", KEYS, MEANT])
@pytest.mark.parametrize(
    ("host", "is_public"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("localhost", False),
        ("'[::1]'", False),
        ("'[::ffff:127.0.0.1]'", False),
        ("", True),
        ("0.0.0.0", True),
        ("'[::]'", True),
        ("10.0.0.1", True),
        ("box.example", True),
    ],
)
def test_who_listens_to_the_world_without_keys_is_warned(
    host: str, is_public: bool, key: str
) -> None:
    listen = f"{host[:-1]}:8080'" if host.endswith("'") else f"'{host}:8080'"
    found = of_models(f"listen: {listen}\n{key}")
    assert len(found) == (is_public and not key)
    assert all("set publicWithoutKeys: true" in told for told in found)
    assert all(told.startswith("listen: whoever reaches ") for told in found)


@pytest.mark.parametrize(
    ("written", "count"),
    [("cors: true", 1), (f"cors: true\n{KEYS}", 0), ("cors: [https://a.example]", 0), ("", 0)],
)
def test_that_pages_of_all_sites_may_ask_is_worth_a_note(written: str, count: int) -> None:
    found = [one for one in advice(f"{written}\nmodels: {{}}").notes if one.path == "cors"]
    assert len(found) == count


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost", "0.0.0.0", "[::]"])
def test_the_port_of_arriero_itself_is_taken(host: str) -> None:
    assert of_models(f"listen: '{host}:9000'\n{MEANT}", a=ON_9000) == [
        "models.a.proxy: arriero itself listens on port 9000; write another one"
    ]


@pytest.mark.parametrize("listen", ["10.0.0.1:9000", "127.0.0.1:9001"])
def test_another_address_of_arriero_itself_is_no_clash(listen: str) -> None:
    assert of_models(f"listen: {listen}\n{MEANT}", a=ON_9000) == []


def test_a_port_that_another_model_tries_first_is_told() -> None:
    fixed = "cmd: run, proxy: 'http://127.0.0.1:5801'"

    assert of_models("", a="cmd: 'x ${PORT}'", b="cmd: 'x ${PORT}'", c=fixed) == [
        "models.c.proxy: port 5801 is the first that is tried for ${PORT} of 'b'; "
        "write ${PORT} here, too, or a port below startPort (5800)"
    ]
    assert of_models("", a="cmd: 'x ${PORT}'", c=fixed) == []


@pytest.mark.parametrize(
    ("routing", "found"),
    [
        (
            "groups: {g: {}}",
            ["groups.g: the group has no members; add some, or remove it"],
        ),
        (
            "groups: {(default): {members: [a]}}",
            [
                "groups.(default): this is the name of the group of all models in no other, which "
                "takes its place; choose another name"
            ],
        ),
        (
            "matrix: {vars: {x: b}, sets: {s: x}}",
            ["models.a: the model is in no set of the matrix, so it runs alone; put it into one"],
        ),
        (
            "routing: {router: {use: matrix, settings: {groups: {g: {members: [a]}}, "
            "matrix: {sets: {s: a & b, t: +s}}}}}",
            [
                "routing.router.settings.groups: the matrix decides which models run together "
                "(routing.router.use), so these groups mean nothing; remove them"
            ],
        ),
        (
            "routing: {router: {use: group, settings: {groups: {g: {members: [a]}}, "
            "matrix: {sets: {s: a}}}}}",
            [],
        ),
    ],
)
def test_groups_and_models_without_a_part_are_told(routing: str, found: list[str]) -> None:
    assert of_models(routing, a="cmd: run, proxy: 'http://x'", b="cmd: 'run ${PORT}'") == found


@pytest.mark.parametrize(
    ("routing", "found"),
    [
        ("", {"a": "(default)", "b": "(default)"}),
        ("groups: {g: {members: [b]}}\n", {"a": "(default)", "b": "g"}),
        ("groups: {(default): {members: [b]}}\n", {"a": "(default)", "b": "(default)"}),
        ("matrix: {vars: {x: b}, sets: {s: x, t: x | +s}}\n", {"a": "", "b": "s, t"}),
        (
            "routing: {router: {use: group, settings: {matrix: {sets: {s: b}}}}}\n",
            {"a": "(default)", "b": "(default)"},
        ),
    ],
)
def test_every_model_has_a_home_but_those_in_no_set(routing: str, found: dict[str, str]) -> None:
    config = parse(f"{routing}models: {{a: {{cmd: 'r ${{PORT}}'}}, b: {{cmd: 'r ${{PORT}}'}}}}")

    assert homes(config) == found


# --- names ----------------------------------------------------------------------------------------

NAMES = """
models:
  a: {{cmd: 'run ${{PORT}}', aliases: [nick]}}
peers:
  p: {{proxy: 'http://p', models: [{peer}]}}
  q: {{proxy: 'http://q', models: [both, q/x, z]}}
  x: {{proxy: 'http://x', models: [y]}}
selectors:
  s: {{strategy: pin, targets: [{target}]}}
"""


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ("own", None),
        ("a", "'a' is a model here, which comes first; ask for 'p/a'"),
        ("nick", "'nick' is an alias of 'a', which comes first; ask for 'p/nick'"),
        ("s", "'s' is a selector, which comes first; ask for 'p/s'"),
        ("x/y", "'x/y' is the full name of a model of the peer 'x'; ask for 'p/x/y'"),
    ],
)
def test_a_model_of_a_peer_that_another_one_hides_is_told(peer: str, told: str | None) -> None:
    found = advice(NAMES.format(peer=peer, target="a")).warnings

    assert [(one.line, one.path, one.message) for one in found] == (
        [(5, "peers.p.models", told)] if told else []
    )


def test_a_name_that_two_peers_have_leads_to_both() -> None:
    assert warnings(NAMES.format(peer="both", target="a")) == []


def test_a_hidden_model_of_a_peer_that_is_used_by_its_full_name_is_meant() -> None:
    assert warnings(NAMES.format(peer="a", target="p/a")) == []
    pinned = NAMES.format(peer="a", target="a") + "profiles: {n: {pins: {c: p/a}}}"
    assert warnings(pinned) == []


@pytest.mark.parametrize(
    ("pins", "told"),
    [
        ("{new: a}", None),
        ("{a: a}", None),
        ("{nick: a}", None),
        ("{a: ~}", None),
        ("{a: s}", "'a' is a model, too, and leads to 's' while this profile is chosen"),
        (
            "{nick: z}",
            "'nick' is an alias of 'a', too, and leads to 'z' while this profile is chosen",
        ),
        ("{s: a}", "'s' is a selector, too, and leads to 'a' while this profile is chosen"),
    ],
)
def test_what_a_pin_hides_is_a_note(pins: str, told: str | None) -> None:
    found = advice(NAMES.format(peer="own", target="a") + f"profiles: {{n: {{pins: {pins}}}}}")

    assert found.warnings == ()
    assert [one.message for one in found.notes] == ([told] if told else [])


@pytest.mark.parametrize(("memory", "told"), [("off", 1), ("auto", 0)])
def test_a_pin_where_memory_does_not_decide_is_told(memory: str, told: int) -> None:
    found = of_models(f"memory: {memory}", a="cmd: run ${PORT}, pin: manual", b="cmd: run ${PORT}")
    assert [one for one in found if one.startswith("models.a.pin: it goes for others")] == found
    assert len(found) == told


def test_macros_that_nothing_uses_are_notes() -> None:
    text = """
macros: {unused: 1, used: 2, in_key: 3, by_macro: 4, user: '${by_macro}', inner: 5}
models:
  a:
    macros: {idle: 1, inner: 6}
    cmd: run ${PORT} ${used} ${user} ${inner}
    filters: {setParamsByID: {'${in_key}': {x: 1}}}
"""
    found = advice(text)

    assert found.warnings == ()
    assert [(one.line, one.path) for one in found.notes] == [
        (2, "macros.unused"),
        (5, "models.a.macros.idle"),
    ]


# --- for who serves -------------------------------------------------------------------------------


def test_who_serves_is_told_what_check_tells_and_what_does_not_act() -> None:
    text = "apiTimeouts: true\nmodels: {a: {cmd: 'run ${PORT}'}, b: {cmd: 'run ${PORT}'}}\n"
    root = parse_yaml(text, "c.yaml")
    assert root is not None

    config = with_findings(parse(text), root, Disk("run"))

    told = [str(found).split(": ")[1] for found in config.warnings]
    unknown = "unknown key 'apiTimeouts'; nothing acts on it, did you mean 'unloadTimeout'?"
    assert told == [unknown, "models.a.cmd", "models.b.cmd"]
    assert with_findings(config, root, Disk("run")) == config  # each of them once


# --- keys and sockets of servers ------------------------------------------------------------------

SERVER = "llama-server --host 127.0.0.1 --port ${PORT}"
VLLM = "vllm serve m --port ${PORT}"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"cmd: '{SERVER} --api-key ${{API_KEY}}'", "models.a.cmd: every user of this machine can"),
        (f"cmd: '{SERVER} --api-key sk-own-key'", "models.a: the key of its server is one of"),
        (f"cmd: '{SERVER}', apiKey: sk-own-key", "models.a.apiKey: the key of its server is one"),
        (f"cmd: '{SERVER} --api-key-file /gone'", "models.a.cmd: there is no file '/gone' of keys"),
        (
            "cmd: 'llama-server --host /a.sock', proxy: 'http://127.0.0.1:8080'",
            "models.a.proxy: the server listens on a unix socket, but arriero asks on a port",
        ),
        (f"cmd: '{SERVER}', proxy: 'unix:/a.sock'", "models.a.proxy: arriero asks on a unix"),
        (f"cmd: '{SERVER}', sleep: true", "models.a.sleep: it never falls asleep; write"),
        (
            "cmd: 'vllm serve m --port ${PORT}', sleep: true",
            "models.a.sleep: vLLM does not sleep without",
        ),
        (
            "cmd: 'vllm serve m --port ${PORT}', sleep: true",
            "models.a.sleep: vLLM cannot be told to sleep",
        ),
        (f"cmd: '{SERVER}', saveSlots: true", "models.a.saveSlots: nothing is saved without a"),
        (f"cmd: '{SERVER}', scrapeMetrics: true", "models.a.cmd: scrapeMetrics finds nothing"),
        (
            f"cmd: '{SERVER} --metrics --sleep-idle-seconds 9', scrapeMetrics: true",
            "models.a.cmd: it never falls asleep, for scrapeMetrics asks it",
        ),
        ("cmd: 'run ${PORT}', saveSlots: true", "models.a.saveSlots: nothing is saved, for cmd is"),
        (
            "cmd: 'llama-server --host /a.sock', proxy: 'unix:/b.sock'",
            "models.a.proxy: the server listens on another unix socket",
        ),
    ],
)
def test_a_key_that_is_none_and_a_socket_where_nobody_is_are_warned_of(
    said: str, told: str
) -> None:
    found = advice(f"apiKeys: [sk-own-key]\nmodels: {{a: {{{said}}}}}", lacks="/gone")
    assert [warning for warning in map(str, found.warnings) if told in warning], found.warnings
    assert "sk-own-key" not in str(found)


@pytest.mark.parametrize(
    "said",
    [
        f"cmd: '{SERVER}', env: ['LLAMA_API_KEY=${{API_KEY}}']",
        f"cmd: '{SERVER} --api-key another'",
        f"cmd: '{SERVER} --sleep-idle-seconds 9', sleep: true",
        f"cmd: '{VLLM} --enable-sleep-mode', env: [VLLM_SERVER_DEV_MODE=1], sleep: true",
        f"cmd: '{SERVER} --slot-save-path /slots', saveSlots: true",
        f"cmd: '{SERVER} --metrics', scrapeMetrics: true",
        f"cmd: '{SERVER} --sleep-idle-seconds 9'",
        f"cmd: '{SERVER}', env: [LLAMA_ARG_SLOT_SAVE_PATH=/slots], saveSlots: true",
        "cmd: 'llama-server --host /a.sock --port 1'",
        "cmd: 'llama-server --host /a.sock', proxy: 'unix:/a.sock'",
        "cmd: 'llama-server --host /${MODEL_ID}.sock'",
        "cmd: 'run', proxy: 'unix:/a.sock'",
    ],
)
def test_keys_and_sockets_as_they_should_be_are_not(said: str) -> None:
    assert advice(f"apiKeys: [sk-own-key]\nmodels: {{a: {{{said}}}}}").warnings == ()
