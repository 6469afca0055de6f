"""Writes what is generated from the definitions of keys and routes (`make docs`).

config.schema.json      for editors
docs/config-parity.md   every key; and docs/config-differences.md: what is not as in llama-swap
docs/http-api.md        every route
docs/metrics.md         every metric: the table in it

With ``--check`` nothing is written: the exit status is 1 if one of them is not up to date.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from arriero.supervisor.config.document import every_key, schema_text
from arriero.supervisor.config.schema.llama_swap import are_theirs
from arriero.supervisor.config.schema.reader import NOT_YET, Key
from arriero.supervisor.config.schema.sections import default_of
from arriero.supervisor.metrics.declared import ALL as ALL_METRICS
from arriero.supervisor.metrics.declared import OWN as OWN_METRICS
from arriero.supervisor.metrics.declared import MetricDeclaration
from arriero.worker.apis.management.declared import PAGES as PAGES_OF
from arriero.worker.apis.routes import ROUTES
from arriero.worker.http.route_declaration import JSON, RouteDeclaration

ROOT: Final = Path(__file__).parents[1]

# The parts of the page: a heading, what it says, and the names with which the paths in it begin;
# no names: all others.
PARTS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("Top level", "", ()),
    (
        "Rules",
        "A list, in order; `<id>` is the number of a rule. What it asks for has to fit, all of it; "
        "then it moves, removes, sets what is not there, and sets. Names are paths: `a.b` is b "
        "within a. `model` and `stream` stay. What no rule changes keeps its bytes.",
        ("rules",),
    ),
    (
        "Keys of clients",
        "`<id>` is the name of the key, which stands in records; `arriero key new laptop` makes "
        "one.",
        ("clientKeys",),
    ),
    ("Models", "`<id>` is the name that requests give.", ("models",)),
    (
        "Which models run beside which, and who comes first",
        "`groups` and `matrix` at the top level are llama-swap's older places; a file has either "
        "these or `routing`.",
        ("groups", "matrix", "routing"),
    ),
    ("Other names", "", ("profiles", "selectors")),
    (
        "Prices",
        "`<id>` is a pattern of names: `*` is any number of characters, `/` among them, `?` is "
        "one, `[ab]` one of these. A model's own prices go before these, and these before the "
        "list.",
        ("prices", "priceList"),
    ),
    ("Peers", "`<id>` is the first part of the names of its models: `<id>/<model>`.", ("peers",)),
)

# Wider cells are let stick out, so that the others can be read without a browser.
_WIDEST: Final = 48


def parity_page() -> str:
    """Return the page on keys and differences."""
    leaves = [(path, key) for path, key in every_key() if not key.type.has_keys]
    acting = sum(key.acts != NOT_YET for _, key in leaves)
    lines = [
        "# The configuration's keys, and llama-swap's",
        "",
        "<!-- Written by make docs; edit supervisor/config, or config-differences.md. -->",
        "",
        "A configuration of llama-swap works unchanged: each of its keys is read and checked, and",
        f"what it says is kept. Of the {len(leaves)} keys here arriero acts on {acting};",
        "*acts since* is the version from which one changes what is done. A file that uses others",
        "loads, and is told so. Keys that llama-swap does not have are marked *own*.",
        "",
        "Times are in seconds, as llama-swap writes them, unless a duration (`250ms`, `1m30s`) is",
        "wanted. Wherever a value stands, `${name}` may stand for it: see [macros](#macros).",
    ]
    for heading, said, names in PARTS:
        lines += ["", f"## {heading}", *(["", said] if said else []), ""]
        lines += table((path, key) for path, key in leaves if _part_of(path) == names)
    differences = (ROOT / "docs" / "config-differences.md").read_text()
    return "\n".join(lines) + "\n\n" + re.sub(r"\A<!--.*?-->\n*", "", differences, flags=re.DOTALL)


def _part_of(path: str) -> tuple[str, ...]:
    first = path.partition(".")[0]
    return next((names for _, _, names in PARTS if first in names), ())


def table(leaves: Iterable[tuple[str, Key]]) -> Iterator[str]:
    """Give the lines of the table of some keys; its columns are straight in the text, too."""
    rows: list[tuple[str, ...]] = [("Key", "Takes", "Default", "Acts since", "Meaning")]
    for path, key in leaves:
        for spelling in key.spellings:
            name = path.removesuffix(key.name) + spelling
            is_theirs = are_theirs(part for part in path.split(".") if part != "<id>")
            own = "" if is_theirs else " *own*"
            is_old = spelling == key.other
            meaning = f"Another spelling of `{key.name}`." if is_old else _marked(key.meaning)
            rows.append(
                (f"`{name}`{own}", _marked(key.type.takes), _default(key), key.acts, meaning)
            )
    rows = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    widths = [max(_fitting(row[column] for row in rows)) for column in range(4)]
    rows.insert(1, (*("-" * width for width in widths), "-------"))
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield f"| {' | '.join([*padded, row[4]])} |"


def _fitting(cells: Iterable[str]) -> Iterator[int]:
    return (len(cell) for cell in cells if len(cell) <= _WIDEST)


def _marked(words: str) -> str:
    """Return `words` with what is written literally marked as code."""
    return re.sub(r"(\$\{[\w.]+\}|<[\w/]+>)", r"`\1`", words)


def _default(key: Key) -> str:
    if key.required:
        return "required"
    if key.without is not None:
        return key.without
    default = default_of(key)
    return "none" if default is None else f"`{_flow(default)}`"


def _flow(value: object) -> str:
    """Return `value` as YAML, in one line."""
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(_flow(item) for item in value)}]"
        case str() if not re.fullmatch(r"[\w/](?:[\w./:${}-]*[\w}])?", value):
            return "'" + value.replace("'", "''") + "'"
        case _:
            return str(value)


# Routes of llama-swap that answer otherwise. What is not here answers as there.
LIKE_THERE: Final = (
    (
        "all",
        "404 and 405 are JSON (or a text, or a page, by `Accept`), not only a text, and name the "
        "nearest route; bodies have limits (413), heads too (431), and slow ones end (408); "
        "pages end their connection",
        "clients read errors in the shape of their API; nothing a stranger sends is without bound",
    ),
    (
        "`OPTIONS`, any path",
        "204; which origins may ask is `cors`",
        "a page of any site could else use the models of this machine",
    ),
    (
        "a model that is not named",
        "400; with exactly one model it is that one",
        "404 says that something is not there, and the request does not say what",
    ),
    (
        "a model that cannot be loaded",
        "500 with the code `model_load_failed`; 503 with `Retry-After` if it may go later",
        "clients ask again where that helps, and only there",
    ),
    (
        "a server that breaks before its answer",
        "502 with a body, in the shape of the API",
        "there it is empty",
    ),
    (
        "`GET /props`, `/v1/audio/voices`, `/sdapi/v1/loras`",
        "409 for a model that does not run",
        "to look at a model does not start it; `/upstream/<model>/props` does",
    ),
    (
        "doubled slashes, dots",
        "307 to the clean path, if something is there; under `/upstream/<model>` they go on as "
        "they are",
        "what is after the model's name belongs to its server",
    ),
    (
        "`GET /`",
        "the page for browsers; for others what there is, as a text, which needs a key, if there "
        "are any",
        "scripts and `curl` get something to read; names of models are in it",
    ),
    (
        "`GET /ui/...`",
        "a page of our own; paths of llama-swap's pages lead to its views",
        "it shows what theirs has no words for: stages, waiters, memory",
    ),
    ("`GET /favicon.ico`", "an SVG", "it is small"),
    (
        "`GET /api/metrics/...`",
        "`metadata` has what else is known of a request; histograms are of the last 50,000; "
        "of models that a key may not use it sees its own rows only",
        "sorting all of them takes long, and records are not everybody's business",
    ),
    (
        "`GET /api/captures/<id>`",
        "what the key has asked itself, or all for administrators; kept on disk, if "
        "`captureBuffer` is in the file; failed answers as well, and of bodies that are no text "
        "nothing",
        "prompts are private; the interesting ones are gone after a restart there",
    ),
    (
        "`GET /running`",
        "`cmd` with secrets hidden; `state` may be `draining` or `asleep` as well",
        "whoever reads it need not know the keys",
    ),
    (
        "`GET /v1/models`",
        "`status.value` may be `loading` or `sleeping` as well; `created` is the worker's start; "
        "`owned_by` is `arriero`, or the peer",
        "a listing that is the same can be cached",
    ),
    (
        "`GET /api/version`",
        "`commit` and `build_date` are empty",
        "an installed package does not know them",
    ),
    (
        "`GET /logs`, `/logs/stream...`",
        "whole lines, up to 100 KiB of those that were; who reads slower than they come is told "
        "how many are left out; 200 readers in a worker, further ones get 503",
        "there pieces are left out without a word",
    ),
    (
        "`GET /api/events`",
        "the same messages, each with the newest truth: states and requests are told ten times a "
        "second at most, so requests of less than 250 ms may not appear; a comment every 15 s of "
        "silence; `asleep` is one more state; a reload does not end it; `remote_ip` is the address "
        "of the connection, whatever `X-Forwarded-For` says",
        "a slow reader misses no state, and costs little; who has gone is noticed; a field of a "
        "request is anybody's word",
    ),
    (
        "`POST /api/inflight/<id>/cancel`",
        "one's own requests only, unless there are no keys; ids are texts, as in `X-Request-Id`",
        "",
    ),
    (
        "`ANY /comfyui/...`",
        "as there; a peer of that name does not count either",
        "",
    ),
)

HTTP_API: Final = """\
# Routes

<!-- Written by make docs; edit the declarations in worker/apis. -->

`{name}` is one part of a path, `{name...}` any number of them; ids of models may have slashes,
escaped or not. Whatever answers `GET` answers `HEAD`. With `apiKeys` or `clientKeys` a key has to
be shown that has the scope under *Key*; `any` of them will do, or none where it is `open`. Those of
`apiKeys` have all scopes. Under `/upstream/<model>` a path takes what it takes here, and `admin` if
it is not here. A model that a key may not use is answered like one that does not exist. A wrong
method is answered 405 with `Allow`, an unknown path 404 with the nearest route. Errors have the
shape of the API and `"src": "arriero"`; they are a text or a page for who accepts `text/plain` or
`text/html` and does not name JSON.

The same for programs, with all shapes and refusals, is what `GET /openapi.json` answers: OpenAPI
3.1, from which clients can be generated.

Where the model is named in the *query*, as `?model=name`, nothing of the body is changed. *Runs*:
the model is not started, and not kept; 409 if it is not ready.
"""


def http_api_page() -> str:
    """Return the page of all routes."""
    asked = sorted(ROUTES.declared, key=lambda it: (it.named_in or "", it.path))
    parts = [HTTP_API, "\n## Of models\n\n", _route_table(asked)]
    parts += ["\n## Of arriero itself\n\n", _route_table(sorted(PAGES_OF, key=lambda it: it.path))]
    parts += ["\n## Where llama-swap answers otherwise\n\n"]
    parts += ["All its 60 patterns are above. Differences:\n\n"]
    parts += ["| Pattern | Here | Why |\n|---|---|---|\n"]
    parts += [f"| {' | '.join(row)} |\n" for row in LIKE_THERE]
    return "".join(parts)


def _route_table(routes: Iterable[RouteDeclaration]) -> str:
    rows = [
        "| Methods | Path | Key | What it does | Model | Body | Answer |\n"
        "|---|---|---|---|---|---|---|\n"
    ]
    for it in routes:
        named = "" if it.named_in is None else it.named_in + ("" if it.starts else ", runs")
        who = "any" if it.access == "key" else it.access
        path = it.path if it.query is None else f"{it.path}?{'&'.join(_names(it.query))}"
        said = [", ".join(it.methods), f"`{path}`", who, it.summary, named]
        said += [_shape(it.request), _shape(it.response)]
        rows.append(f"| {' | '.join(said)} |\n")
    return "".join(rows)


def _shape(shape: type | str | None) -> str:
    if isinstance(shape, str):
        return "" if shape == JSON else f"`{shape.partition(';')[0]}`"
    if shape is None:
        return ""
    return ", ".join(f"`{name}`" for name in _names(shape))


def _names(shape: type) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(shape)]


METRICS_PAGE: Final = "docs/metrics.md"
_BEGIN: Final = "<!-- Written by make docs: -->\n"
_END: Final = "<!-- until here. -->\n"


def metrics_page() -> str:
    """Return the page on metrics, with its tables written anew."""
    before, _, rest = (ROOT / METRICS_PAGE).read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    machine = tuple(it for it in ALL_METRICS if it not in OWN_METRICS)
    parts = [before, _BEGIN, "\n### Of arriero and its models\n\n", _metric_table(OWN_METRICS)]
    parts += ["\n### Of the machine, in llama-swap's names\n\n", _metric_table(machine), "\n"]
    return "".join((*parts, _END, after))


def _metric_table(metrics: Iterable[MetricDeclaration]) -> str:
    rows = ["| Metric | Kind | Labels | What it tells |\n|---|---|---|---|\n"]
    for it in metrics:
        labels = ", ".join(f"`{name}`" for name in it.labels)
        rows.append(f"| `{it.name}` | {it.kind} | {labels} | {it.help} |\n")
    return "".join(rows)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "config.schema.json": schema_text,
    "docs/config-parity.md": parity_page,
    "docs/http-api.md": http_api_page,
    METRICS_PAGE: metrics_page,
}


def main(args: list[str]) -> int:
    """Write the pages; with ``--check``, say which of them are not up to date."""
    stale = []
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if args != ["--check"]:
                path.write_text(text)
    if stale and args == ["--check"]:
        sys.stderr.write(f"not up to date: {', '.join(stale)}; run: make docs\n")
        return 1
    sys.stdout.write("".join(f"wrote {name}\n" for name in stale))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
