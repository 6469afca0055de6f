# ruff: noqa: E501  one mistake, one line

import pytest

from tests.supervisor.config.reading import problems

ONE = "models: {a: {cmd: 'run --port ${PORT}'"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: {a: {ttl: 5}}", "1:13: models.a.cmd: there is no command; write how to start it, or a proxy"),
        ("models: {a: {proxy: 'http://h:${PORT}'}}", "1:21: models.a.proxy: ${PORT} is used here, but there is no cmd"),
        ("models: {a: {proxy: 'http://h', apiKey: '${API_KEY}'}}", "1:41: models.a.apiKey: ${API_KEY} is made for each start"),
        ("models: {a: }", "1:10: models.a: there is nothing in it; write how to start it"),
        ("logLevel: verbose\n" + ONE + "}}", "1:11: logLevel: found the text 'verbose'; write one of"),
        ("models: {a: {ttl: z}}", "models.a.cmd: there is no command"),
        ("models: {a: {cmd: [run, s3cret]}}", "1:19: models.a.cmd: found a list; write a command"),
        ('models: {a: {cmd: "run \\0 ${PORT}"}}', "models.a.cmd: this holds a zero byte"),
        (ONE + ", aliases: ['']}}", "models.a.aliases.0: found the text ''; write 1 to 200 printable"),
        (ONE + ", aliases: [x]}, b: {cmd: 'run ${PORT}', aliases: [y, x]}}", "1:93: models.b.aliases: 'x' is an alias of 'a' already"),
        (ONE + ", checkEndpoint: /h%zz}}", "write a path such as /health, or none"),
        (ONE + ", proxy: 'http://h:1/p?q=1'}}", "write a URL"),
        (ONE + ", unlisted: perhaps}}", "write true or false"),
        (ONE + ", ttl: 1.5}}", "found the number 1.5; write a whole number"),
        ("strict: forse\n" + ONE + "}}", "write one of false, true, force (did you mean 'force'?)"),
        ("progress: true\n" + ONE + "}}", "found the truth value true; write one of off, comment"),
        ("progressMarker: '${PORT} '\n" + ONE + "}}", "${PORT} has a meaning only in a model whose cmd uses it"),
        ('models: {"a\\e[2J": {cmd: x, zz: 1}}', r"models.'a\x1b[2J': unknown key 'zz'"),
        ("[1]", "1:1: this is not a mapping of keys; write keys such as models:"),
        ("models: [a]", "1:9: models: write a mapping of names to models"),
        ("models: {a: 7}", "1:13: models.a: found the number 7; write a mapping of keys"),
        ("models: {a: {}}", "1:13: models.a.cmd: there is no command; write how to start it"),
        ("models: {a: {cmd: '# run'}}", "models.a.cmd: there is no command"),
        ("wrokers: 2\n" + ONE + "}}", "1:1: unknown key 'wrokers'; did you mean 'workers'?"),
        (ONE + ", check_endpoint: x}}", "1:41: models.a: unknown key 'check_endpoint'; did you mean 'checkEndpoint'?"),
        (ONE + ", zzz: x}}", "known are: aliases, apiKey, capabilities, checkEndpoint"),
        ("workers: 0\n" + ONE + "}}", "1:10: workers: found the number 0; write a whole number from 1 to 64"),
        ("workers: '2'\n" + ONE + "}}", "found the text '2'; write a whole number"),
        ("workers: true\n" + ONE + "}}", "found the truth value true; write a whole number"),
        ("startPort: 70000\n" + ONE + "}}", "write a whole number from 1 to 65535"),
        ("listen: nowhere\n" + ONE + "}}", "1:9: listen: found the text 'nowhere'; write host:port"),
        ("progress: raesoning\n" + ONE + "}}", "did you mean 'reasoning'?"),
        ("progressDelay: 5\n" + ONE + "}}", "write a duration from 0s to 3600s"),
        ("heartbeatInterval: 301s\n" + ONE + "}}", "write 0 or a duration from 1s to 300s"),
        ("heartbeatInterval: 999ms\n" + ONE + "}}", "write 0 or a duration from 1s to 300s"),
        ("progressMarker: '[x]'\n" + ONE + "}}", "4 to 32 printable ASCII characters"),
        (ONE + ", ttl: -2}}", "write a whole number from -1"),
        (ONE + ", env: [NAME]}}", "models.a.env.0: this is not NAME=value"),
        (ONE + ", aliases: x}}", "models.a.aliases: this is not a list; write a list of names"),
        (ONE + ", aliases: [x, x]}}", "'x' is an alias of 'a' already"),
        (ONE + ", proxy: 'ftp://x'}}", "write a URL, such as http://127.0.0.1:9000"),
        (ONE + ", proxy: 'http://x:y'}}", "write a URL"),
        ("models: {a: {cmd: run}}", "the server is not told where to listen"),
        ("models: {a: {cmd: 'run ${PROT}'}}", "unknown macro ${PROT}; known are: API_KEY, MODEL_ID"),
        ("models: {a: {cmd: 'run ${env.NOPE}'}}", "the environment has no variable NOPE"),
        ("models: {a: {cmd: 'run ${PID}', proxy: 'http://x'}}", "${PID} has a meaning in cmdStop only"),
        ("macros: {PORT: 1}\n" + ONE + "}}", "this name is taken"),
        ("macros: {'a b': 1}\n" + ONE + "}}", "letters, digits"),
        ("macros: {a: '${a}'}\n" + ONE + "}}", "unknown macro ${a}"),
        ("macros: {a: '${b}', b: 1}\n" + ONE + "}}", "unknown macro ${b}"),
        ("macros: {a: [1]}\n" + ONE + "}}", "write a text, a number or a truth value"),
        (ONE + ", 7: x}}", "1:41: models.a: unknown key '7'; known are"),
        (ONE + ", env: [null]}}", "models.a.env.0: found nothing; write NAME=value"),
        (ONE + ", proxy: ''}}", "models.a.proxy: found the text ''; write a URL"),
        ("unknown: {x: 1}\n" + ONE + "}}", "1:1: unknown key 'unknown'; known are: adminListen, adopt"),
        ("models:\n  a: {cmd: x}\n  a: {cmd: y}\n", "3:3: the key 'a' stands here a second time (first in line 2)"),
        ("models: {a: &x [*x]}", "there is no anchor &x before this"),
        ("a: 1\n--- \nb: 2", "more than one document"),
        ("a: [", "this is not YAML"),
        ("a: \x00", "this is not YAML"),
        ("[" * 100 + "]" * 100, "nested deeper than 64"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_would_do(text: str, told: str) -> None:
    assert any(told in problem for problem in problems(text)), problems(text)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        "workers: x\nlisten: y\nmodels:\n  a: {cmd: 'run ${PORT}', ttl: z}\n  b: {}\n"
        "  c: {cmd: 'run ${PORT}', onBlocked: {use: nobody}}\n"
        "  d: {cmd: 'run ${PORT}', onBlocked: {use: a}}\n"  # it is there, whatever is wrong with it
    )
    assert [problem.split(":")[1] for problem in found] == ["1", "2", "4", "5", "6"], found


def test_mistakes_without_number_end_the_reading() -> None:
    found = problems("\n".join(f"k{number}: 1" for number in range(2000)))
    assert len(found) == 1001
    assert found[0] == "c.yaml: there are more than 999 mistakes; these are the first"


def test_a_value_of_the_environment_is_not_quoted_in_a_mistake() -> None:
    assert "s3cret" not in "".join(problems(ONE + ", env: ['=s3cret', 's3cret']}}"))


@pytest.mark.parametrize(
    "env",
    ["s3cret", "'A=s3cret'", "{A: s3cret}", "[[s3cret]]", "['A=${s3cret}']", '["A=s3cret\\0"]'],
)
def test_a_value_of_the_environment_is_not_quoted_however_it_is_written(env: str) -> None:
    assert "s3cret" not in "".join(problems(ONE + ", env: " + env + "}}"))


@pytest.mark.parametrize(
    "line",
    [
        "proxy: 'ftp://me:s3cret@host'",
        "proxy: 'http://host/v1?token=s3cret'",
        "proxy: 'http://host/v1?x=s3cret'",
        "proxy: 'http://host/v1#s3cret'",
        "proxy: 'http://host/ Authorization: Bearer s3cret'",
        "proxy: 'unix:/run/TOKEN=s3cret%s'" % ("x" * 200),
        "ttl: 'API_KEY=s3cret'",
        "ttl: 'sk-s3cret-s3cret'",
    ],
)
def test_no_secret_is_quoted(line: str) -> None:
    (told,) = problems(f"{ONE}, {line}}}}}")
    assert "s3cret" not in told
