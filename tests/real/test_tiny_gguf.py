"""The random model's file; whether a real llama-server talks with it is for tests/e2e to see."""

import hashlib
from pathlib import Path

import gguf

from tests.real.tiny_gguf import write_tiny_gguf


def test_the_same_call_makes_the_same_small_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tiny_gguf(tmp_path / name)

    one, two = ((tmp_path / name).read_bytes() for name in ("one", "two"))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    assert len(one) < 2_000_000


def test_the_file_is_a_llama_with_a_vocabulary_and_a_chat_template(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "m.gguf")

    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.fields["general.architecture"].contents() == "llama"
    assert "<|im_start|>" in reader.fields["tokenizer.chat_template"].contents()
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == 291
