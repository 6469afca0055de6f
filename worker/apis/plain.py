"""APIs without frames of ours; errors and usage are OpenAI's.

Embeddings, rerank, audio, images, and llama-server's own.
"""

from .chat.api import OpenAiApi


class PlainApi(OpenAiApi):
    """Nothing before the response; the end of a stream is unknown."""

    paths = (
        b"/v1/embeddings",
        b"/v1/rerank",
        b"/v1/reranking",
        b"/rerank",
        b"/reranking",
        b"/infill",
        b"/completion",
        b"/v/embeddings",
        b"/v/rerank",
        b"/v/reranking",
        b"/v1/audio/speech",
        b"/v1/audio/voices",
        b"/v1/images/generations",
        b"/sdapi/v1/txt2img",
        b"/sdapi/v1/img2img",
        b"/audioapi/v1/tasks/run",
        b"/v1/audio/transcriptions",
        b"/v1/images/edits",
    )
