"""The small tables of ours say what the package of llama.cpp says."""

import re

from gguf.constants import (
    GGML_QUANT_SIZES,
    GGMLQuantizationType,
    GGUFType,
    Keys,
    LlamaFileType,
    PoolingType,
)

from arriero.supervisor.llamacpp import gguf_constants as ours


def test_every_type_of_a_tensor_is_known() -> None:
    assert {number: tuple(known) for number, known in ours.QUANTIZATIONS.items()} == {
        kind.value: (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType
    }


def test_every_type_of_a_file_is_known() -> None:
    assert {
        kind.value: re.sub("^(ALL|MOSTLY)_", "", kind.name) for kind in LlamaFileType
    } == ours.FILE_TYPES | {ours.GUESSED: "GUESSED"}


def test_keys_and_their_values_have_these_names() -> None:
    assert (ours.IS_MODEL, ours.IS_PROJECTOR) == (GGUFType.MODEL, GGUFType.MMPROJ)
    assert PoolingType(ours.POOLING_RANK) is PoolingType.RANK
    for theirs, own in (
        (Keys.General.ARCHITECTURE, ours.ARCHITECTURE),
        (Keys.General.TYPE, ours.TYPE),
        (Keys.General.NAME, ours.NAME),
        (Keys.General.FILE_TYPE, ours.FILE_TYPE),
        (Keys.LLM.CONTEXT_LENGTH, ours.CONTEXT_LENGTH),
        (Keys.LLM.EMBEDDING_LENGTH, ours.EMBEDDING_LENGTH),
        (Keys.LLM.POOLING_TYPE, ours.POOLING_TYPE),
        (Keys.Tokenizer.MODEL, ours.TOKENIZER),
        (Keys.ClipVision.PROJECTION_DIM, ours.PROJECTION_DIM),
    ):
        assert own == theirs
