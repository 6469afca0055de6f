"""Which dialect speaks to a client."""

from ..http.routes import Form
from ..progress.dialect import Dialect
from ..progress.modes import Mode
from .bedrock import BedrockDialect
from .chat import ChatDialect, CompletionDialect
from .gemini import GeminiDialect
from .messages import MessagesDialect
from .responses import ResponsesDialect


def make_voice(
    form: Form, mode: Mode, *, model: str, ident: str, created: int, body: bytes
) -> Dialect:
    """Return the dialect for one request.

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
            return MessagesDialect(merges=mode == "reasoning", model=model, ident=ident)
        case Form.RESPONSES:
            return ResponsesDialect(mode, model=model, ident=ident, created=created, body=body)
        case Form.COMPLETION:
            return CompletionDialect(model=model, ident=ident, created=created)
        case Form.GEMINI:
            return GeminiDialect()
        case Form.BEDROCK:
            return BedrockDialect()
        case Form.CHAT | Form.PLAIN | Form.COUNT:
            return ChatDialect(model=model, ident=ident, created=created)
