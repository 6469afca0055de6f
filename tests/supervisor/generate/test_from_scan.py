"""What the files say of themselves -> models and their configuration. No file is read."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.supervisor.config.load import parse_config
from arriero.supervisor.generate.from_scan import FoundFile, Inventory, configuration, take_stock
from arriero.supervisor.generate.places import SearchPlace
from arriero.supervisor.llamacpp.gguf import GgufHeader, Scalar

FOLDER = Path("/models")
PLACES = [SearchPlace(FOLDER)]
SERVER = ("llama-server", "--host", "127.0.0.1", "--port", "${PORT}")


def file(path: str, *, tensors: int = 10, size: int = 4_900_000_000, **says: Any) -> FoundFile:
    """Return a file of an ordinary model; in `says` two underscores stand for a dot."""
    arch = says.pop("arch", "qwen3")
    fields: dict[str, Scalar] = {
        "general.architecture": arch,
        "general.file_type": 15,
        "tokenizer.ggml.model": "gpt2",
        f"{arch}.context_length": 40_960,
        **{key.replace("__", "."): value for key, value in says.items()},
    }
    head = GgufHeader(fields, tensors, 8_030_000_000, "Q4_K", size)
    return FoundFile(path=FOLDER / path, size_bytes=size, head=head)


def projector(path: str, **says: Any) -> FoundFile:
    return file(path, arch="clip", **says)


def words(*files: FoundFile) -> dict[str, tuple[str, ...]]:
    """Return what each model's command has beyond the server itself and its file."""
    config = parse_config(configuration(take_stock(files), PLACES), environ={})
    assert not config.warnings
    assert all(model.command[:6] == (*SERVER, "-m") for model in config.models.values())
    return {name: model.command[7:] for name, model in config.models.items()}


def left_out(*files: FoundFile) -> list[str]:
    found = take_stock(files)
    assert not found.models
    return [remark.removeprefix(f"{FOLDER}/") for remark in found.remarks]


def test_a_model_is_described_in_a_users_words() -> None:
    found = take_stock([file("sub/Qwen3-8B-Q4_K_M.gguf", general__name="Qwen3 8B")])

    config = parse_config(configuration(found, PLACES), environ={})

    (model,) = config.models.values()
    assert (model.model, model.name) == ("qwen3-8b", "Qwen3 8B")
    assert model.aliases == ("qwen3-8b-q4_k_m",)
    assert model.progress == "reasoning"
    assert model.description == "8.0 B parameters, Q4_K_M, 4.9 GB, context up to 40,960"
    assert model.command == (
        *SERVER, "-m", "/models/sub/Qwen3-8B-Q4_K_M.gguf", "-c", "8192",
    )  # fmt: skip


@pytest.mark.parametrize(("context", "asked"), [(512, "512"), (8192, "8192"), (1 << 20, "8192")])
def test_the_context_is_what_the_model_has_but_not_too_much(context: int, asked: str) -> None:
    assert words(file("m.gguf", qwen3__context_length=context)) == {"m": ("-c", asked)}


def test_the_context_of_all_is_raised_in_one_place() -> None:
    files = [file("a.gguf"), file("b.gguf"), file("c.gguf", qwen3__context_length=512)]
    text = configuration(take_stock(files), PLACES).replace("context: 8192", "context: 16384")

    models = parse_config(text, environ={}).models.values()

    assert [model.command[-1] for model in models] == ["16384", "16384", "512"]


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ({"qwen3__pooling_type": 0}, ("-c", "8192")),
        (
            {"qwen3__pooling_type": 3},
            ("--embedding", "-c", "8192", "-b", "8192", "-ub", "8192"),
        ),
        ({"qwen3__pooling_type": 1, "qwen3__context_length": 512}, ("--embedding", "-c", "512")),
        ({"qwen3__pooling_type": 4, "qwen3__context_length": 512}, ("--reranking", "-c", "512")),
        (
            {"arch": "nomic-bert", "nomic-bert__context_length": 512},
            ("--embedding", "-c", "512"),
        ),
    ],
)
def test_models_for_embeddings_and_ranking_are_told_so(
    says: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert words(file("m.gguf", **says)) == {"m": expected}


def test_a_split_model_is_one_model_named_by_its_first_file() -> None:
    files = [file(f"Big-0000{number}-of-00003.gguf") for number in (3, 1, 2)]

    (model,) = take_stock(files).models

    assert (model.model, model.path.name) == ("big", "Big-00001-of-00003.gguf")
    assert (model.parameters, model.size_bytes) == (3 * 8_030_000_000, 3 * 4_900_000_000)


@pytest.mark.parametrize("there", [[1, 3], [2], [1, 2, 4]])
def test_a_split_model_that_is_not_complete_is_left_out(there: list[int]) -> None:
    (remark,) = left_out(*[file(f"big-0000{number}-of-00003.gguf") for number in there])

    assert remark == f"big-*-of-00003.gguf: {len(there)} of 3 files are there"


def test_a_broken_file_of_a_split_model_leaves_it_out() -> None:
    broken = FoundFile(path=FOLDER / "big-00002-of-00002.gguf", size_bytes=1, error="it is broken")

    assert left_out(file("big-00001-of-00002.gguf"), broken) == [
        "big-00002-of-00002.gguf: it is broken"
    ]


def test_a_file_that_is_cut_short_is_left_out() -> None:
    whole = file("m.gguf", size=2_000_000_000)
    cut = FoundFile(path=whole.path, size_bytes=500_000_000, head=whole.head)

    assert left_out(cut) == [
        "m.gguf: it is cut short: 500.0 MB of 2.0 GB are there; perhaps it is still on its way"
    ]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (file("x.gguf", general__type="adapter"), "x.gguf: it is no model, but calls itself 'ad"),
        (file("x.gguf", general__type="imatrix"), "x.gguf: it is no model, but calls itself 'im"),
        (file("x.gguf", tensors=0), "x.gguf: it holds no weights"),
        (file("x.gguf", flux__x=1, arch="flux", tokenizer__ggml__model=""), "x.gguf: it is no lan"),
        (FoundFile(path=FOLDER / "x.gguf", size_bytes=0, error="gone"), "x.gguf: gone"),
        (projector("x.gguf"), "x.gguf: a projector, but there is no model for it beside it"),
    ],
)
def test_what_is_no_model_is_left_out_with_the_reason(model: FoundFile, why: str) -> None:
    (remark,) = left_out(model)
    assert remark.startswith(why)


@pytest.mark.parametrize("name", ["mmproj-F16.gguf", "gemma.BF16-mmproj.gguf"])
def test_a_projector_goes_with_the_model_beside_it(name: str) -> None:
    files = [file("a/gemma.gguf"), projector(f"a/{name}"), file("b/other.gguf")]

    assert words(*files) == {
        "gemma": ("--mmproj", f"/models/a/{name}", "-c", "8192"),
        "other": ("-c", "8192"),
    }


def test_among_many_models_a_projector_goes_with_those_it_fits() -> None:
    files = [
        file("small.gguf", qwen3__embedding_length=1024),
        file("large.gguf", qwen3__embedding_length=4096),
        projector("mmproj-large.gguf", clip__vision__projection_dim=4096),
    ]

    assert {model.model: model.projector for model in take_stock(files).models} == {
        "large": FOLDER / "mmproj-large.gguf",
        "small": None,
    }


def test_of_several_projectors_the_one_in_f16_is_taken() -> None:
    files = [
        file("m.gguf"),
        projector("mmproj-BF16.gguf", general__file_type=32),
        projector("mmproj-F16.gguf", general__file_type=1),
    ]

    found = take_stock(files)

    assert found.models[0].projector == FOLDER / "mmproj-F16.gguf"
    assert found.remarks == [f"{FOLDER}/mmproj-BF16.gguf: mmproj-F16.gguf is used in its place"]


def test_in_llama_cpps_cache_a_projector_goes_with_its_repository() -> None:
    same = {"qwen3__embedding_length": 1024}
    files = [
        file("org_a-GGUF_a-Q4_K_M.gguf", **same),
        file("org_b-GGUF_b-Q4_K_M.gguf", **same),
        projector("org_b-GGUF_mmproj-model-f16.gguf", clip__vision__projection_dim=1024),
    ]

    assert {one.model: one.projector is not None for one in take_stock(files).models} == {
        "org_a-gguf_a": False,
        "org_b-gguf_b": True,
    }


def snapshot(commit: str, name: str, number: int, changed_ns: int = 0) -> FoundFile:
    path = FOLDER / "models--o--r" / "snapshots" / commit / name
    return msgspec.structs.replace(
        file(name), path=path, identity=(1, number), changed_ns=changed_ns
    )


def test_of_versions_in_hugging_faces_cache_the_last_one_counts() -> None:
    found = take_stock(
        [
            snapshot("a1", "m.gguf", 1, 100),
            snapshot("b2", "m.gguf", 2, 200),  # the same name, other content, later
            snapshot("c3", "m.gguf", 1, 100),  # an older one again
            snapshot("a1", "n-00001-of-00002.gguf", 3),  # not all of it was fetched then
            snapshot("b2", "n-00001-of-00002.gguf", 3),
            snapshot("b2", "n-00002-of-00002.gguf", 4),
        ]
    )

    assert [(one.model, one.path.parent.name) for one in found.models] == [("m", "b2"), ("n", "b2")]
    assert found.remarks == []


def test_a_file_with_two_names_is_one_model() -> None:
    one, other = (msgspec.structs.replace(file(f"{n}.gguf"), identity=(1, 7)) for n in "ab")

    assert [model.model for model in take_stock([other, one]).models] == ["a"]


def of_ollama(*called: str, number: int = 1) -> list[FoundFile]:
    blob = msgspec.structs.replace(file(f"blobs/sha256-{number:064}"), identity=(2, number))
    return [msgspec.structs.replace(blob, called=name) for name in called]


def test_models_of_ollama_keep_their_names() -> None:
    files = [*of_ollama("llama3.2:latest", "llama3.2:3b"), *of_ollama("me/x:1b", number=2)]
    text = configuration(take_stock(files), PLACES)

    models = parse_config(text, environ={}).models

    assert {name: model.aliases for name, model in models.items()} == {
        "llama3.2:3b": ("llama3.2", "llama3.2:latest"),
        "me/x:1b": (),
    }
    assert text.count("# Ollama's file.") == 2


def test_remarks_in_a_configuration_have_an_end() -> None:
    found = take_stock([file(f"{n}.gguf", tensors=0) for n in range(500)])

    text = configuration(found, PLACES)

    assert text.count("it holds no weights") == 20
    assert "#   and 480 more\n" in text


@pytest.mark.parametrize(
    ("stem", "model"),
    [
        ("Qwen3-8B-Q4_K_M", "qwen3-8b"),
        ("gemma-3-12b-it-UD-Q4_K_XL", "gemma-3-12b-it"),
        ("Mistral.Q5_0", "mistral"),
        ("phi-4.bf16", "phi-4"),
        ("gpt-oss-20b-MXFP4", "gpt-oss-20b"),
        ("Qwen3-30B-A3B-IQ2_XXS", "qwen3-30b-a3b"),
        ("Llama-3.2-1B-Instruct.Q4_K_M-GGUF", "llama-3.2-1b-instruct"),
        ("Tiny F32", "tiny"),
        ("q8_0", "q8_0"),  # nothing else is left
        ("model-q4-chat", "model-q4-chat"),
        ("iq-test", "iq-test"),
    ],
)
def test_a_model_is_called_as_people_say_it(stem: str, model: str) -> None:
    (found,) = take_stock([file(f"{stem}.gguf")]).models

    assert found.model == model
    alias = stem.lower().replace(" ", "-")
    assert found.aliases == (() if model == stem.lower() else (alias,))


def test_two_files_of_one_model_keep_their_whole_names() -> None:
    files = [file("M-Q4_0.gguf"), file("M-Q8_0.gguf"), file("N-Q8_0.gguf"), file("N.gguf")]

    found = {model.model: model.aliases for model in take_stock(files).models}

    assert found == {"m-q4_0": (), "m-q8_0": (), "n": (), "n-q8_0": ()}


def test_ids_are_unique_and_plain() -> None:
    files = [file("a/M x.gguf"), file("b/m X.gguf"), file("c/${PORT}.gguf"), file("d/---.gguf")]

    assert [model.model for model in take_stock(files).models] == ["m-x", "m-x-2", "model", "port"]


@pytest.mark.parametrize(
    ("says", "quant"),
    [
        ({"general__file_type": 0}, "F32"),
        ({"general__file_type": 7}, "Q8_0"),
        ({"general__file_type": 1024 + 7}, "Q8_0"),
        ({"general__file_type": 999}, "Q4_K"),
        ({"general__file_type": "x"}, "Q4_K"),
    ],
)
def test_the_quant_is_what_the_file_says_or_what_most_weights_are(
    says: dict[str, Any], quant: str
) -> None:
    (model,) = take_stock([file("m.gguf", **says)]).models

    assert model.quant == quant


SCALARS = st.text(max_size=20) | st.integers(-5, 1 << 70) | st.floats() | st.booleans()
KEYS = st.sampled_from(
    [
        "general.architecture", "general.name", "general.type", "general.file_type",
        "a.pooling_type", "a.context_length", "tokenizer.ggml.model", "clip.vision.projection_dim",
    ]
)  # fmt: skip
HEADS = st.builds(
    GgufHeader,
    st.dictionaries(KEYS, SCALARS).map(
        lambda says: {"general.architecture": "a", "a.context_length": 7, **says}
    ),
    st.integers(0, 2),
    st.integers(0, 1 << 80),
    st.sampled_from(["", "F16"]),
    st.integers(0, 10),
)
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=12)
FILES = st.builds(
    lambda path, size, head, called: FoundFile(
        path=FOLDER / f"{path}.gguf", size_bytes=size, head=head, called=called
    ),
    PATHS
    | st.sampled_from(["mmproj-x", "b-00001-of-00002", "b-00002-of-00002", "b-00000-of-00000"]),
    st.integers(5, 20),
    st.none() | HEADS,
    st.just("") | PATHS,
)


@settings(deadline=None)
@given(st.lists(FILES, max_size=6))
def test_whatever_was_found_gives_a_configuration_without_a_warning(files: list[FoundFile]) -> None:
    found: Inventory = take_stock(files)

    config = parse_config(configuration(found, PLACES), environ={}) if found.models else None

    if config is not None:
        assert not config.warnings
        assert [m.command[6] for m in config.models.values()] == [str(m.path) for m in found.models]
