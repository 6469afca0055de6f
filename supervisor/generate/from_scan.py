"""GGUF files -> models, and a configuration for them."""

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from ..config.schema.model_types import MAX_NAME
from ..llamacpp import gguf_constants as gguf
from ..llamacpp.gguf import GgufHeader
from .places import GET_SERVER, SERVER, SearchPlace
from .write import Entry, document, words

# Device and number of a file: the same for each of its names.
FileIdentity: TypeAlias = tuple[int, int]

# Remarks that are written into a configuration; there may be thousands.
_SHOWN_REMARKS: Final = 20

# Context of a model in the configuration, in tokens, unless it has less. Memory for the context is
# taken when the model starts: with the 131,072 that models claim nowadays it would be more than
# for the weights, and the start would fail or push layers out of the GPU. This much starts
# wherever the weights fit, and takes a long chat.
CONTEXT: Final = 8192

# llama-server's default for the tokens that are computed at once. A text to embed must fit.
_BATCH: Final = 512

# llama.cpp's own naming of the parts of a model, see its tools/gguf-split.
_PART: Final = re.compile(r"(.+)-(\d{5})-of-(\d{5})")

# End of a file's name, behind that of its model: how its weights are stored.
_QUANT_SUFFIX: Final = re.compile(
    r"[-._ ](?:ud-)?"
    r"(?:i?q[1-9](?:_(?:\d|k|nl|xx?s|s|m|l|xl))*|tq[12]_0|mxfp4(?:_moe)?|b?f16|f32)"
    r"(?:[-.](?:gguf|imat))*",
    re.IGNORECASE,
)

# A file in Hugging Face's cache: its repository, and its path there at one commit.
_SNAPSHOT: Final = re.compile(r"(.*/models--[^/]+/snapshots)/[^/]+/(.*)", re.DOTALL)

# A projector in llama.cpp's own cache, where all models lie in one folder: what it begins with.
_CACHED_PROJECTOR: Final = re.compile(r"(.+)_mmproj[^/]*", re.IGNORECASE)

_LATEST: Final = ":latest"

# Architectures for embeddings, even if a file does not name its pooling.
_ENCODERS: Final = ("bert", "t5encoder")


class ModelPurpose(Enum):
    """The purpose of a model; the value is llama-server's option."""

    TEXT = ""
    EMBEDDING = "--embedding"
    RERANKER = "--reranking"


class FoundFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was found.

    Attributes:
        path: Of the file.
        size_bytes: Its size.
        head: Its header; None if it cannot be read.
        error: Why it cannot.
        changed_ns: When it was changed last, Unix time in nanoseconds.
        identity: What it has in common with its other names.
        called: Its name in Ollama's store, where files have none.
        projector: What goes with it there.
    """

    path: Path
    size_bytes: int
    head: GgufHeader | None = None
    error: str = ""
    changed_ns: int = 0
    identity: FileIdentity | None = None
    called: str = ""
    projector: Path | None = None

    def text(self, key: str) -> str:
        """Return a text of its header; empty if there is none."""
        value = self.head.fields.get(key) if self.head else None
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """Return a sensible number of its header."""
        value = self.head.fields.get(key) if self.head else None
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if 0 <= value < 1 << 40 else None

    def of_model(self, key: str) -> int | None:
        """Return a number under the name of its architecture."""
        return self.number(key.format(arch=self.text(gguf.ARCHITECTURE)))


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that llama-server can serve.

    Attributes:
        model: Its id, unique among those that were found.
        aliases: The name of its file, if the id is shorter; other names in Ollama's store.
        path: Its file, the first one if it is split.
        kind: Its purpose.
        name: As it calls itself; may be empty.
        architecture: Such as ``qwen3``.
        quant: Such as ``Q4_K_M``; may be empty.
        parameters: How many.
        size_bytes: Of all of its files.
        context: Longest context in tokens, if known.
        projector: The file for images or sound, if there is one.
    """

    model: str
    path: Path
    kind: ModelPurpose
    name: str
    architecture: str
    quant: str
    parameters: int
    size_bytes: int
    context: int | None
    projector: Path | None = None
    aliases: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """A summary for users, on one line."""
        parts = [f"{_parameters(self.parameters)} parameters", self.quant, _size(self.size_bytes)]
        if self.context:
            parts.append(f"context up to {self.context:,}")
        if self.kind is not ModelPurpose.TEXT:
            parts.append(
                "for embeddings" if self.kind is ModelPurpose.EMBEDDING else "ranks documents"
            )
        return ", ".join(part for part in parts if part)


class Inventory(msgspec.Struct):
    """The models and other findings in the files.

    Attributes:
        models: In the order of their ids.
        remarks: Files that were left out, and why.
    """

    models: list[FoundModel] = msgspec.field(default_factory=list)
    remarks: list[str] = msgspec.field(default_factory=list)


def take_stock(files: Iterable[FoundFile]) -> Inventory:
    """Sort `files` into models and their parts.

    A file that has several names is one model, and so are all versions of one in Hugging Face's
    cache: the last one that can be used.
    """
    found = Inventory()
    projectors: list[FoundFile] = []
    models: list[tuple[Sequence[FoundFile], ModelPurpose]] = []
    names: defaultdict[Path, list[str]] = defaultdict(list)
    for parts, called in _whole(files, found.remarks):
        kind = _kind(parts)
        if kind == "projector":
            projectors.append(parts[0])
        elif isinstance(kind, ModelPurpose):
            models.append((parts, kind))
            names[parts[0].path] = called
        else:
            found.remarks.append(f"{parts[0].path}: {kind}")
    attached = _attach(projectors, [parts[0] for parts, _ in models], found.remarks)
    named = _names([(parts[0].path, names[parts[0].path]) for parts, _ in models])
    for (model, aliases), (parts, kind) in zip(named, models, strict=True):
        first = parts[0]
        found.models.append(
            FoundModel(
                model=model,
                aliases=aliases,
                path=first.path,
                kind=kind,
                name=_shown(first.text(gguf.NAME)),
                architecture=_shown(first.text(gguf.ARCHITECTURE)),
                quant=_quant(parts),
                parameters=sum(part.head.parameters for part in parts if part.head),
                size_bytes=sum(part.size_bytes for part in parts),
                context=first.of_model(gguf.CONTEXT_LENGTH),
                projector=first.projector or attached.get(first.path),
            )
        )
    found.models.sort(key=lambda model: model.model)
    return found


def configuration(
    found: Inventory, places: Sequence[SearchPlace], server: str | None = SERVER
) -> str:
    """Return a configuration for the models of `found`.

    Args:
        found: What was found.
        places: Where.
        server: How llama-server is called; None if it is not there.
    """
    top = [
        "Made by arriero init from the GGUF files in",
        *(f"  {place}" for place in places),
        "",
        "`arriero check` says what is wrong with this file, `arriero serve` serves it, and",
        "`arriero reload` puts changes of it in force. `arriero example` shows all keys there are.",
        *(["", *_folded(GET_SERVER[0].upper() + GET_SERVER[1:] + ".")] if server is None else []),
    ]
    if found.remarks:
        more = len(found.remarks) - _SHOWN_REMARKS
        top += ["", "Left out:", *(f"  {remark}" for remark in found.remarks[:_SHOWN_REMARKS])]
        top += [f"  and {more:,} more"] if more > 0 else []
    program = words(server or SERVER)
    macros: dict[str, Sequence[str] | int] = {
        "server": [f"{program} --host 127.0.0.1 --port ${{PORT}}"]
    }
    if any(model.kind is ModelPurpose.TEXT and _has_room(model) for model in found.models):
        macros["context"] = CONTEXT
    return document(
        map(_entry, found.models),
        remarks=top,
        settings={"listen": "127.0.0.1:8080", "progress": "reasoning"},
        macros=macros,
        above=_EXPLAINED,
    )


# Comments above a key; above what is no key stand those on others.
_EXPLAINED: Final[Mapping[str, Sequence[str]]] = {
    "listen": [
        "Where clients ask. 0.0.0.0:8080 lets other machines in; then ask for keys, too (arriero",
        "key new NAME makes one).",
    ],
    "progress": [
        "Who waits for a model to load is told how far it is, as reasoning in the stream. off,",
        "comment and heartbeat tell less.",
    ],
    "macros": [
        "One model runs at a time, and is stopped when another is asked for. This keeps as many as",
        "fit into memory; ttl unloads one that nobody has asked for in ten minutes:",
        "  memory: auto",
        "  globalTTL: 600",
        "",
        f"Each model gets a context of at most {CONTEXT:,} tokens (-c), which starts wherever its",
        "weights fit. Raise `context` as far as your memory allows; its description says how far",
        "the model goes. Without -c llama-server takes all of that, as far as it finds room.",
    ],
}


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, 90)


def _entry(model: FoundModel) -> Entry:
    command = ["${server}", words("-m", str(model.path))]
    if model.projector:
        command.append(words("--mmproj", str(model.projector)))
    context = min(model.context or CONTEXT, CONTEXT)
    if model.kind is ModelPurpose.TEXT:
        command.append("-c ${context}" if _has_room(model) else f"-c {context}")
    else:
        batch = f" -b {context} -ub {context}" if context > _BATCH else ""
        command.append(f"{model.kind.value} -c {context}{batch}")
    return Entry(
        model=model.model,
        command=command,
        name=model.name,
        description=model.description,
        aliases=model.aliases,
        remarks=[_OF_OLLAMA] if model.path.parent.name == "blobs" else [],
    )


_OF_OLLAMA: Final = (
    "Ollama's file. Of a few models it has a form of its own, which llama-server does not load."
)


def _has_room(model: FoundModel) -> bool:
    return (model.context or CONTEXT) >= CONTEXT


def _whole(
    files: Iterable[FoundFile], remarks: list[str]
) -> Iterable[tuple[Sequence[FoundFile], list[str]]]:
    """Give the files of each model that can be read and is complete, and its names at Ollama's."""
    sets: defaultdict[tuple[Path, str, int], dict[int, FoundFile]] = defaultdict(dict)
    names: defaultdict[Path, list[str]] = defaultdict(list)
    for file in sorted(files, key=lambda file: (file.path, file.called)):
        part = _PART.fullmatch(file.path.stem)
        if file.called:
            names[file.path].append(file.called)
        if part is None:
            sets[file.path, "", 1].setdefault(1, file)
        else:
            sets[file.path.parent, part[1], int(part[3])][int(part[2])] = file
    usable: list[Sequence[FoundFile]] = []
    others: list[tuple[Iterable[FoundFile], list[str]]] = []
    for (path, stem, count), parts in sets.items():
        broken = {file.path: why for file in parts.values() if (why := _fault(file))}
        if len(parts) != count or set(parts) != set(range(1, count + 1)):
            name = f"{path / stem}-*-of-{count:05}.gguf"
            others.append((parts.values(), [f"{name}: {len(parts)} of {count} files are there"]))
        elif broken:
            others.append((parts.values(), [f"{file}: {why}" for file, why in broken.items()]))
        else:
            usable.append([parts[number] for number in sorted(parts)])
    seen: set[FileIdentity | Path] = set()
    for whole in _newest(usable):
        identities = {file.identity or file.path for file in whole}
        if not identities <= seen:
            yield whole, names[whole[0].path]
        seen |= identities
    for unusable, told in others:  # what is there as well, and whole, needs no word
        if not {file.identity or file.path for file in unusable} <= seen:
            remarks += told


def _newest(usable: Iterable[Sequence[FoundFile]]) -> Iterable[Sequence[FoundFile]]:
    """Give all but older versions in Hugging Face's cache.

    The younger of two files is meant: its time is that of the download.
    """
    chosen: dict[object, Sequence[FoundFile]] = {}
    for whole in usable:
        version = _SNAPSHOT.fullmatch(str(whole[0].path))
        key = version.groups() if version else whole[0].path
        before = chosen.get(key)
        if before is None or whole[0].changed_ns > before[0].changed_ns:
            chosen[key] = whole
    return chosen.values()


def _fault(file: FoundFile) -> str:
    if file.head is None:
        return file.error
    if file.size_bytes < file.head.needs_bytes:
        return (
            f"it is cut short: {_size(file.size_bytes)} of {_size(file.head.needs_bytes)} are "
            "there; perhaps it is still on its way"
        )
    return ""


def _kind(parts: Sequence[FoundFile]) -> ModelPurpose | str:
    """Return the purpose of a model, ``projector``, or why it is none."""
    first = parts[0]
    architecture, kind = first.text(gguf.ARCHITECTURE), first.text(gguf.TYPE)
    if kind == gguf.IS_PROJECTOR or architecture == "clip" or _is_named_projector(first.path):
        return "projector"
    if kind not in {"", gguf.IS_MODEL}:
        return f"it is no model, but calls itself {kind!r}"
    if not any(part.head.tensors for part in parts if part.head):
        return "it holds no weights, such as a file that is a vocabulary only"
    if first.of_model(gguf.CONTEXT_LENGTH) is None or not first.text(gguf.TOKENIZER):
        return f"it is no language model; its architecture is {architecture or 'unknown'!r}"
    pooling = first.of_model(gguf.POOLING_TYPE)
    if pooling == gguf.POOLING_RANK:
        return ModelPurpose.RERANKER
    return (
        ModelPurpose.EMBEDDING if pooling or architecture.endswith(_ENCODERS) else ModelPurpose.TEXT
    )


def _is_named_projector(path: Path) -> bool:
    """Return whether llama-server takes it for a projector.

    Source: its README, "Model sources".
    """
    return path.name.lower().startswith("mmproj")


def _attach(
    projectors: Iterable[FoundFile], models: Sequence[FoundFile], remarks: list[str]
) -> Mapping[Path, Path]:
    """Return the projector of each model that has one in its folder.

    If there are more models in it, those are meant whose embeddings are as long as what the
    projector gives. Of several projectors one in F16 is taken, which all machines compute well.
    """
    attached: dict[Path, Path] = {}
    order = sorted(projectors, key=lambda file: (_quant([file]) != "F16", file.path))
    for projector in order:
        beside = [model for model in models if model.path.parent == projector.path.parent]
        cached = _CACHED_PROJECTOR.fullmatch(projector.path.name)
        of_same = [one for one in beside if cached and one.path.name.startswith(f"{cached[1]}_")]
        length = projector.number(gguf.PROJECTION_DIM)
        fitting = [model for model in beside if model.of_model(gguf.EMBEDDING_LENGTH) == length]
        chosen = of_same or (fitting if len(beside) > 1 else beside)
        if not chosen:
            remarks.append(f"{projector.path}: a projector, but there is no model for it beside it")
        for model in chosen:
            taken = attached.setdefault(model.path, projector.path)
            if taken != projector.path:
                remarks.append(f"{projector.path}: {taken.name} is used in its place")
                break
    return attached


def _names(
    files: Sequence[tuple[Path, Sequence[str]]],
) -> list[tuple[str, tuple[str, ...]]]:
    """Return a distinct id for each file, and the aliases beside it.

    The id is short, as in speech, ``qwen3-8b``, unless another file would have the same. What has
    a name at Ollama's keeps it: ``llama3.2:1b``.

    Args:
        files: Their paths, and their names at Ollama's.
    """
    paths = [path for path, _ in files]
    stems = [part[1] if (part := _PART.fullmatch(path.stem)) else path.stem for path in paths]
    whole = [_id_of(stem) for stem in stems]
    short = [_id_of(_without_quant(stem)) for stem in stems]
    counts = Counter(short) + Counter(whole)
    taken: set[str] = set()
    found = []
    for name, file_name, (_, called) in zip(short, whole, files, strict=True):
        if called:
            wanted, *others = dict.fromkeys(
                one for it in called for one in _unlike(_shown(it) or "model")
            )
            model = _unique(wanted[: MAX_NAME - 10], taken)
            aliases = [_unique(one[: MAX_NAME - 10], taken) for one in others]
            found.append((model, tuple(aliases)))
            continue
        is_free = counts[name] - (name == file_name) == 1
        wanted = name if is_free else file_name
        model = _unique(wanted, taken)
        found.append((model, (_unique(file_name, taken),) if wanted != file_name else ()))
    return found


def _unlike(name: str) -> tuple[str, ...]:
    """Return the names of a model at Ollama's: of its latest one, with and without the tag."""
    short = name.removesuffix(_LATEST)
    return (short, name) if short and short != name else (name,)


def _without_quant(stem: str) -> str:
    found = [one.start() for one in _QUANT_SUFFIX.finditer(stem) if one.end() == len(stem)]
    return stem[: found[0]] or stem if found else stem


def _id_of(stem: str) -> str:
    return re.sub(r"[^\w.+@-]+", "-", stem.lower()).strip("-")[: MAX_NAME - 10] or "model"


def _unique(wanted: str, taken: set[str]) -> str:
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    return name


def _quant(parts: Sequence[FoundFile]) -> str:
    kind = parts[0].number(gguf.FILE_TYPE)
    if kind is not None and (name := gguf.FILE_TYPES.get(kind & ~gguf.GUESSED)):
        return name
    types = [part.head.main_type for part in parts if part.head and part.head.main_type]
    return types[0] if types else ""


def _shown(text: str) -> str:
    return "".join(char for char in text if char.isprintable()).strip()[:MAX_NAME]


def _parameters(count: int) -> str:
    for factor, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return str(count)


def _size(size_bytes: int) -> str:
    if size_bytes < 10**9:
        return f"{size_bytes / 10**6:.1f} MB"
    return f"{size_bytes / 10**9:.1f} GB"
