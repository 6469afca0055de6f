"""Makes a model that a real llama-server loads in milliseconds and that talks nonsense.

    python tests/real/tiny_gguf.py FILE [tiny|small|large]

A llama with random weights. Its vocabulary is the 256 bytes, so that it reads any text, and a
few words, which are all that it ever says: the rows of the output matrix that belong to anything
else are zero, so a random word always scores higher. It never ends by itself: limit
``max_tokens``. The same call makes the same file, byte by byte.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import gguf
import numpy as np
import numpy.typing as npt

Size: TypeAlias = Literal["tiny", "small", "large"]

# fmt: off
WORDS = (
    "llama", "mule", "trail", "load", "rope", "bell", "pack", "water", "stone", "dust", "hill",
    "camp", "fire", "corn", "wool", "salt", "sun", "rain", "wind", "star", "path", "foot", "hand",
    "hat", "song", "river", "bridge", "valley", "mountain", "morning", "evening", "road",
)
# fmt: on

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_EOS, _IM_END = 0, 2

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Standard deviation of the output rows of words. At 1.0 a row's score is about as large as that of
# the zero rows; at this value the best of the words always beats them, at any usual temperature.
_SPREAD = 2.0

# Tokens that the model is said to be trained for. llama-server makes room for as many by default.
_CONTEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Numbers of a llama: `width` is split among `heads`; `inner` is that of the feed-forward."""

    layers: int
    width: int
    heads: int
    inner: int


# 0.5 MB, 58 MB for tests that want to see a load take its time, and 1.1 GB for measurements in
# which what counts is the disk.
_SHAPES: dict[Size, _Shape] = {
    "tiny": _Shape(layers=2, width=64, heads=2, inner=128),
    "small": _Shape(layers=6, width=448, heads=7, inner=1152),
    "large": _Shape(layers=10, width=2048, heads=16, inner=6144),
}


def write_tiny_gguf(path: Path, *, size: Size = "tiny") -> None:
    """Write a random llama to `path`.

    Args:
        path: Is replaced if it is there.
        size: `tiny` is below 1 MB; `small` about 60 MB; `large` 1.1 GB, in half precision.
    """
    shape = _SHAPES[size]
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, size, shape)
    tokens = _add_tokenizer(writer)
    _add_tensors(writer, shape, tokens, np.float16 if size == "large" else np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, size: Size, shape: _Shape) -> None:
    writer.add_name(f"random llama, {size}")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    half = size == "large"
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)


def _add_tokenizer(writer: gguf.GGUFWriter) -> list[str]:
    """Add a byte-level vocabulary, as that of GPT-2, and return its tokens in order."""
    words = [f"{_BLANK}{word}" for word in WORDS]
    tokens = [*_SPECIAL, *_BYTES, *words]
    kinds = [gguf.TokenType.CONTROL] * len(_SPECIAL)
    kinds += [gguf.TokenType.NORMAL] * (len(_BYTES) + len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    # The list must not be empty. Reading gives bytes, and this one pair, which is no token.
    writer.add_token_merges([f"{_BLANK} {_BLANK}"])
    writer.add_eos_token_id(_EOS)
    writer.add_eot_token_id(_IM_END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_CHAT_TEMPLATE)
    return tokens


def _byte_letters() -> tuple[str, ...]:
    """Return the letter that stands for each byte in a byte-level vocabulary.

    Printable bytes stand for themselves, the others get the letters from 256 on. Source: OpenAI,
    gpt-2, encoder.py, `bytes_to_unicode`.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(0x100))


_BYTES = _byte_letters()
_BLANK = _BYTES[0x20]


def _add_tensors(
    writer: gguf.GGUFWriter,
    shape: _Shape,
    tokens: Sequence[str],
    kind: type[np.float32] | type[np.float16],
) -> None:
    rng = np.random.default_rng(seed=1)
    width, inner = shape.width, shape.inner

    def random(rows: int, columns: int, spread: float) -> npt.NDArray[np.floating]:
        numbers = rng.standard_normal((rows, columns), dtype=np.float32)
        return (numbers * np.float32(spread)).astype(kind)

    ones = np.ones(width, dtype=np.float32)
    output = random(len(tokens), width, _SPREAD)
    output[: -len(WORDS)] = 0.0
    writer.add_tensor("token_embd.weight", random(len(tokens), width, 1.0))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", ones)
        writer.add_tensor(f"{block}.ffn_norm.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}.{name}.weight", random(width, width, width**-0.5))
        writer.add_tensor(f"{block}.ffn_gate.weight", random(inner, width, width**-0.5))
        writer.add_tensor(f"{block}.ffn_up.weight", random(inner, width, width**-0.5))
        writer.add_tensor(f"{block}.ffn_down.weight", random(width, inner, inner**-0.5))


def main() -> None:
    """Write the file that the arguments name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("size", nargs="?", choices=sorted(_SHAPES), default="tiny")
    args = parser.parse_args()
    write_tiny_gguf(args.file, size=args.size)


if __name__ == "__main__":
    main()
