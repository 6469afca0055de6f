"""Which voice speaks to a client."""

from ..http.routes import Form
from ..progress.dialect import Voice
from ..progress.modes import Mode
from .bedrock import BedrockVoice
from .chat import ChatVoice, CompletionVoice
from .gemini import GeminiVoice
from .messages import MessagesVoice
from .responses import ResponsesVoice


def make_voice(
    form: Form, mode: Mode, *, model: str, ident: str, created: int, body: bytes
) -> Voice:
    """Return the voice for one request.

    Args:
        form: Shape of the answers.
        mode: How the client is told; decides whether the upstream's stream is merged.
        model: Name as the client wrote it.
        ident: 24 hexadecimal digits, the same in all that this client is told.
        created: Unix time, in whole seconds.
        body: The request, for APIs that repeat some of it.
    """
    match form:
        case Form.MESSAGES:
            return MessagesVoice(merges=mode == "reasoning", model=model, ident=ident)
        case Form.RESPONSES:
            return ResponsesVoice(mode, model=model, ident=ident, created=created, body=body)
        case Form.COMPLETION:
            return CompletionVoice(model=model, ident=ident, created=created)
        case Form.GEMINI:
            return GeminiVoice()
        case Form.BEDROCK:
            return BedrockVoice()
        case Form.CHAT | Form.PLAIN | Form.COUNT:
            return ChatVoice(model=model, ident=ident, created=created)
