"""GGUF files -> models, and a configuration for them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from ..config.schema.model_types import MAX_NAME
from ..llamacpp import gguf_constants as gguf
from ..llamacpp.gguf import GgufHeader
from .write import Entry, document, words

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
    """

    path: Path
    size_bytes: int
    head: GgufHeader | None = None
    error: str = ""

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
        alias: The name of its file, if the id is shorter; empty if it is not.
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
    alias: str = ""

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
    """Sort `files` into models and their parts."""
    found = Inventory()
    projectors: list[FoundFile] = []
    models: list[tuple[Sequence[FoundFile], ModelPurpose]] = []
    for parts in _whole(files, found.remarks):
        kind = _kind(parts)
        if kind == "projector":
            projectors.append(parts[0])
        elif isinstance(kind, ModelPurpose):
            models.append((parts, kind))
        else:
            found.remarks.append(f"{parts[0].path}: {kind}")
    attached = _attach(projectors, [parts[0] for parts, _ in models], found.remarks)
    for (model, alias), (parts, kind) in zip(
        _names([parts[0].path for parts, _ in models]), models, strict=True
    ):
        first = parts[0]
        found.models.append(
            FoundModel(
                model=model,
                alias=alias,
                path=first.path,
                kind=kind,
                name=_shown(first.text(gguf.NAME)),
                architecture=_shown(first.text(gguf.ARCHITECTURE)),
                quant=_quant(parts),
                parameters=sum(part.head.parameters for part in parts if part.head),
                size_bytes=sum(part.size_bytes for part in parts),
                context=first.of_model(gguf.CONTEXT_LENGTH),
                projector=attached.get(first.path),
            )
        )
    found.models.sort(key=lambda model: model.model)
    return found


def configuration(found: Inventory, folder: Path) -> str:
    """Return a configuration for the models of `found`."""
    top = [
        f"Made by arriero scan from the files in {folder}.",
        f"Each model gets a context of at most {CONTEXT:,} tokens (-c), which starts wherever its",
        "weights fit. Raise `context` as far as your memory allows; its description says how far",
        "the model goes. Without -c llama-server takes all of that, as far as it finds room.",
    ]
    if found.remarks:
        top += ["", "Left out:", *(f"  {remark}" for remark in found.remarks)]
    macros: dict[str, Sequence[str] | int] = {
        "server": ["llama-server --host 127.0.0.1 --port ${PORT}"]
    }
    if any(model.kind is ModelPurpose.TEXT and _has_room(model) for model in found.models):
        macros["context"] = CONTEXT
    return document(
        map(_entry, found.models), remarks=top, settings={"progress": "reasoning"}, macros=macros
    )


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
        aliases=[model.alias] if model.alias else [],
    )


def _has_room(model: FoundModel) -> bool:
    return (model.context or CONTEXT) >= CONTEXT


def _whole(files: Iterable[FoundFile], remarks: list[str]) -> Iterable[Sequence[FoundFile]]:
    """Give the files of each model that can be read and is complete."""
    sets: defaultdict[tuple[Path, str, int], dict[int, FoundFile]] = defaultdict(dict)
    for file in sorted(files, key=lambda file: file.path):
        part = _PART.fullmatch(file.path.stem)
        if part is None:
            sets[file.path, "", 1][1] = file
        else:
            sets[file.path.parent, part[1], int(part[3])][int(part[2])] = file
    for (path, stem, count), parts in sets.items():
        broken = {file.path: why for file in parts.values() if (why := _fault(file))}
        missing = count - len(parts)
        if missing or set(parts) != set(range(1, count + 1)):
            name = f"{path / stem}-*-of-{count:05}.gguf"
            remarks.append(f"{name}: {len(parts)} of {count} files are there")
        elif broken:
            remarks += [f"{file}: {why}" for file, why in broken.items()]
        else:
            yield [parts[number] for number in sorted(parts)]


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
        length = projector.number(gguf.PROJECTION_DIM)
        fitting = [model for model in beside if model.of_model(gguf.EMBEDDING_LENGTH) == length]
        chosen = fitting if len(beside) > 1 else beside
        if not chosen:
            remarks.append(f"{projector.path}: a projector, but there is no model for it beside it")
        for model in chosen:
            taken = attached.setdefault(model.path, projector.path)
            if taken != projector.path:
                remarks.append(f"{projector.path}: {taken.name} is used in its place")
                break
    return attached


def _names(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Return a distinct id for each file, and the alias beside it.

    The id is short, as in speech, ``qwen3-8b``, unless another file would have the same.
    """
    stems = [part[1] if (part := _PART.fullmatch(path.stem)) else path.stem for path in paths]
    whole = [_id_of(stem) for stem in stems]
    short = [_id_of(_without_quant(stem)) for stem in stems]
    counts = Counter(short) + Counter(whole)
    taken: set[str] = set()
    names = []
    for name, file_name in zip(short, whole, strict=True):
        is_free = counts[name] - (name == file_name) == 1
        wanted = name if is_free else file_name
        model = _unique(wanted, taken)
        names.append((model, _unique(file_name, taken) if wanted != file_name else ""))
    return names


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
