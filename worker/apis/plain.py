"""APIs without frames of ours; errors and usage are OpenAI's.

Embeddings, rerank, audio, images, and llama-server's own; and what is passed on whatever it is.
"""

from typing import Final

from ..http.route_declaration import (
    ANY_METHOD,
    FORM,
    JSON,
    Access,
    RouteDeclaration,
    asks,
    unversioned,
)
from .chat.api import OpenAiApi

_BYTES: Final = "application/octet-stream"


def _reads(
    path: str, summary: str, *, access: Access = "infer", response: str = JSON
) -> RouteDeclaration:
    """Declare what is read of a model that runs."""
    return RouteDeclaration(
        path=path,
        summary=summary,
        methods=("GET",),
        access=access,
        named_in="query",
        starts=False,
        response=response,
    )


def _sends(
    path: str,
    summary: str,
    *,
    access: Access = "infer",
    request: str = JSON,
    starts: bool = True,
) -> RouteDeclaration:
    """Declare a POST whose query may name the model; else its body does."""
    return RouteDeclaration(
        path=path,
        summary=summary,
        access=access,
        named_in="query",
        request=request,
        starts=starts,
    )


_EMBEDDINGS: Final = asks("/v1/embeddings", "Embed texts.")
_RERANK: Final = "Put documents in order."


class PlainApi(OpenAiApi):
    """Nothing before the response; the end of a stream is unknown."""

    routes = (
        *unversioned(_EMBEDDINGS),
        asks("/v1/rerank", _RERANK),
        asks("/v1/reranking", _RERANK),
        asks("/rerank", _RERANK),
        asks("/reranking", _RERANK),
        asks("/v/rerank", _RERANK, forward="/rerank"),
        asks("/v/reranking", _RERANK, forward="/reranking"),
        asks("/v1/moderations", "Judge a text."),
        # llama-server's own
        asks("/infill", "Fill a gap in a source text."),
        asks("/completion", "Complete a text."),
        _sends("/tokenize", "Text to tokens."),
        _sends("/detokenize", "Tokens to text."),
        _sends("/apply-template", "Messages to the text of a prompt."),
        _reads("/props", "What a model's server says of itself.", access="read"),
        _sends("/props", "Change that.", access="admin", starts=False),
        # the prompts of others are in there
        _reads("/slots", "What each slot does.", access="read"),
        _sends(
            "/slots/{slot}", "Save, restore or erase a prompt cache.", access="admin", starts=False
        ),
        _reads("/lora-adapters", "The adapters that are loaded.", access="read"),
        _sends("/lora-adapters", "Change their scales.", access="admin", starts=False),
        # audio
        asks("/v1/audio/speech", "Text to speech.", response=_BYTES),
        asks("/v1/audio/voices", "Voices that speak, or a new one."),
        _reads("/v1/audio/voices", "Voices that speak."),
        asks("/v1/audio/transcriptions", "Speech to text.", request=FORM),
        asks("/v1/audio/translations", "Speech to English text.", request=FORM),
        asks("/audioapi/v1/tasks/run", "Run a task on audio.", forward="/v1/tasks/run"),
        # images
        asks("/v1/images/generations", "Make images."),
        asks("/v1/images/edits", "Change images.", request=FORM),
        asks("/v1/images/variations", "Make images like another one.", request=FORM),
        asks("/sdapi/v1/txt2img", "Text to images."),
        asks("/sdapi/v1/img2img", "Images to images."),
        _reads("/sdapi/v1/loras", "The adapters that there are."),
        # files and batches, where the model's server has them
        _sends("/v1/files", "Keep a file.", request=FORM, starts=False),
        _reads("/v1/files", "The files that are kept."),
        RouteDeclaration(
            path="/v1/files/{file}",
            summary="A file that is kept: read what is known of it, or delete it.",
            methods=("GET", "DELETE"),
            access="infer",
            named_in="query",
            starts=False,
        ),
        _reads("/v1/files/{file}/content", "A file that is kept.", response=_BYTES),
        _sends("/v1/batches", "Begin a batch.", starts=False),
        _reads("/v1/batches", "The batches."),
        _reads("/v1/batches/{batch}", "A batch."),
        _sends("/v1/batches/{batch}/cancel", "End a batch.", starts=False),
        # whatever it is
        RouteDeclaration(
            path="/upstream/{model...}/{path...}",
            summary="Anything that a model's server has, WebSockets too; as it came, and as it is. "
            "What is not declared here, too, takes a key for administrators.",
            methods=ANY_METHOD,
            access="admin",
            named_in="path",
            request=_BYTES,
            response=_BYTES,
        ),
        RouteDeclaration(
            path="/comfyui/{path...}",
            summary="The same for the model comfyui_auto; only its first page starts it.",
            methods=ANY_METHOD,
            access="infer",
            named_in="path",
            request=_BYTES,
            response=_BYTES,
        ),
    )
