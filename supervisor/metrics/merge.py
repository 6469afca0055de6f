"""What model servers tell of themselves -> one text, with the label `model`. Pure.

A server's text is a stranger's: each line is read by itself, what is not plainly a sample is left
out, and nothing in it can end a line, take another model's label, or have one of our own names.
Bounded in all: lines, samples, families.

Source: prometheus.io/docs/instrumenting/exposition_formats. The parser of `prometheus_client`
judges the result in tests; it is no help here, since it takes quadratic time for some lines.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from .declared import PREFIXES
from .exposition import label, number

MAX_BYTES: Final = 256 * 1024
"""Of one server's text; vLLM's is 50 kB, llama-server's 2 kB."""

# A server's samples, and those of all: far more than any has. What is more is left out.
_MAX_SAMPLES: Final = 2000
_MAX_ALL_SAMPLES: Final = 20_000
_MAX_LINE: Final = 2048
_MAX_LABELS: Final = 32
_MAX_HELP: Final = 200

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}", re.ASCII)
_LABEL: Final = re.compile(
    r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\\x00-\x1f\x7f]|\\[\\"n])*)"[ \t]*(,|\Z)',
    re.ASCII,
)
_REST: Final = re.compile(r"[ \t]+([0-9a-zA-Z.+-]{1,40})(?:[ \t]+-?[0-9]{1,20})?[ \t]*", re.ASCII)
_COMMENT: Final = re.compile(r"#[ \t]+(HELP|TYPE)[ \t]+(\S+)[ \t]?(.*)")
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
    "untyped": ("",),
}

# What is there already goes under such a name, as with Prometheus.
_MODEL: Final = "model"
_EXPORTED: Final = "exported_"


class ServerSample(msgspec.Struct, frozen=True):
    """One line of a server: its name, its labels as they are written, and its value."""

    name: str
    labels: str
    value: str


class _Family(msgspec.Struct):
    kind: str = "untyped"
    help: str = ""
    samples: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)


class Merged:
    """What all servers tell.

    Attributes:
        succeeded: Model -> whether its server has told anything.
    """

    def __init__(self) -> None:
        self.succeeded: dict[str, bool] = {}
        self._families: dict[str, _Family] = {}
        self._home: dict[str, str] = {}  # name of a sample -> its family
        self._count = 0

    def add(self, model: str, text: bytes | None) -> None:
        """Add what the server of `model` has told; None: nothing."""
        count, given = 0, label(_MODEL, model)
        lines = (text or b"")[:MAX_BYTES].decode("utf-8", "replace").split("\n")
        for line in lines:
            if len(line) > _MAX_LINE or not line:
                continue
            if line.startswith("#"):
                self._comment(line)
            elif self._count < _MAX_ALL_SAMPLES and count < _MAX_SAMPLES:
                if (sample := read_sample(line.rstrip("\r"), given)) is None:
                    continue
                family = self._families.setdefault(
                    self._home.setdefault(sample.name, sample.name), _Family()
                )
                if (key := (sample.name, sample.labels)) not in family.samples:
                    family.samples[key] = sample.value
                    self._count += 1
                    count += 1
        self.succeeded[model] = count > 0

    def lines(self, *, open_metrics: bool) -> Iterator[str]:
        """Give the lines; for OpenMetrics, whose families have stricter rules, without kinds."""
        for name, family in self._families.items():
            if not family.samples:
                continue
            if not open_metrics:
                if family.help:
                    yield f"# HELP {name} {family.help}\n"
                yield f"# TYPE {name} {family.kind}\n"
            by_name: dict[str, list[str]] = {}
            for (sample, labels), value in family.samples.items():
                by_name.setdefault(sample, []).append(f"{sample}{{{labels}}} {value}\n")
            for sample, written in by_name.items():
                if open_metrics:
                    yield f"# TYPE {sample} unknown\n"
                yield from written

    def _comment(self, line: str) -> None:
        found = _COMMENT.match(line)
        if found is None:
            return
        what, name, said = found.groups()
        if not _is_theirs(name) or (self._home.get(name, name) != name):
            return
        family = self._families.get(name)
        if family is None:
            if len(self._families) >= _MAX_SAMPLES:
                return
            family = self._families[name] = _Family()
        if what == "HELP":
            family.help = family.help or said.strip()[:_MAX_HELP].replace("\\", "")
        elif family.kind == "untyped" and not family.samples and said.strip() in _KINDS:
            names = [name + suffix for suffix in _KINDS[said.strip()]]
            if all(self._home.get(it, name) == name for it in names):
                family.kind = said.strip()
                self._home.update(dict.fromkeys(names, name))


def read_sample(line: str, given: str) -> ServerSample | None:
    """Return the sample in `line`, with the label `given`; None if it is none, or one of ours."""
    found = _NAME.match(line)
    if found is None or not _is_theirs(name := found[0]):
        return None
    rest, labels = line[found.end() :].lstrip(" \t"), given
    if rest.startswith("{"):
        end = rest.rfind("}")
        read = _labels(rest[1:end]) if end > 0 else None
        if read is None:
            return None
        labels, rest = ",".join((given, *read)), rest[end + 1 :]
    value = _REST.fullmatch(f" {rest}")
    if value is None:
        return None
    try:
        return ServerSample(name, labels, number(float(value[1])))
    except ValueError:
        return None


def _labels(text: str) -> list[str] | None:
    """Return labels as they are written, sorted; None if they are none."""
    found: dict[str, str] = {}
    at, end = 0, len(text.rstrip(" \t"))
    while at < end:
        read = _LABEL.match(text, at)
        if read is None or len(found) >= _MAX_LABELS:
            return None
        name, value, _ = read.groups()
        name = f"{_EXPORTED}{name}" if name == _MODEL else name
        if name.startswith("__") or name in found:
            return None
        found[name] = value
        at = read.end()
    return [f'{name}="{value}"' for name, value in sorted(found.items())]


def _is_theirs(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.startswith(PREFIXES)
