"""What a question takes along: text from standard input, and images."""

import base64
from pathlib import Path
from typing import Final, TypeAlias

import click

Content: TypeAlias = str | list[dict[str, object]]

# As long as a body may be, unless that is configured.
_MOST_BYTES: Final = 48 * 1024 * 1024

# How files of images begin.
_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


def read_text(descriptor: int) -> str:
    """Return all of standard input; nothing if it is closed.

    Raises:
        click.UsageError: It is no text, or too much.
    """
    try:
        with open(descriptor, "rb", closefd=False) as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError:
        return ""
    if len(data) > _MOST_BYTES:
        raise click.UsageError(f"standard input has more than {_MOST_BYTES >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise click.UsageError(
            f"standard input is no text in UTF-8 ({exc.reason}, byte {exc.start}); "
            "give images with --image FILE"
        ) from exc


def content_of(question: str, attached: str, images: tuple[Path, ...]) -> Content:
    """Return the content of a message.

    Args:
        question: What was typed; may be empty.
        attached: Text that comes after it; may be empty.
        images: Files.

    Raises:
        click.UsageError: There is nothing to ask, or a file is no image.
    """
    text = "\n\n".join(part for part in (question, attached.strip("\n")) if part.strip())
    if not text and not images:
        raise click.UsageError("there is nothing to ask: write it behind MODEL, or pipe it in")
    if not images:
        return text
    parts: list[dict[str, object]] = [{"type": "text", "text": text}] if text else []
    return parts + [{"type": "image_url", "image_url": {"url": _data_url(one)}} for one in images]


def _data_url(image: Path) -> str:
    try:
        with image.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise click.UsageError(f"cannot read {image}: {exc.strerror or exc}") from exc
    if len(data) > _MOST_BYTES:
        raise click.UsageError(f"{image} has more than {_MOST_BYTES >> 20} MiB")
    is_webp = data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    kind = next((kind for begin, kind in _KINDS if data.startswith(begin)), None)
    if kind is None and not is_webp:
        raise click.UsageError(f"{image} is no image that is known: PNG, JPEG, GIF, BMP or WebP")
    return f"data:{kind or 'image/webp'};base64,{base64.b64encode(data).decode()}"
