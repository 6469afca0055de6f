"""What an upstream is asked for in a client's name, that the client did not ask for.

It goes by what the upstream is configured or probed to be and by the API that is spoken, never by
the name of a model: strict servers answer a member that they do not know with 400.

Source of what llama-server knows: its README, ``return_progress`` and ``timings``.
"""

from typing import Final

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import UsageSetting

from ..apis.base.api import Api

# They stream no usage unless they are asked. llama-server's last chunk always has its timings,
# and of unknown ones nothing is known.
_ASKED_BY_ITSELF: Final[frozenset[UpstreamKind]] = frozenset({"vllm", "openai", "azure"})

# These report of their own accord, in an API of their own.
_REPORT: Final[frozenset[UpstreamKind]] = frozenset({"anthropic", "gemini", "bedrock"})

# Where llama-server tells how far it is with the prompt; not on messages and responses.
_PROGRESS_PATHS: Final = frozenset({b"/v1/chat/completions", b"/v1/completions", b"/completion"})


def asks_for_usage(setting: UsageSetting, kind: UpstreamKind, api: Api, *, stream: bool) -> bool:
    """Whether ``stream_options.include_usage`` is merged into the request.

    Args:
        setting: `usage` in the configuration of the upstream.
        kind: What the upstream is; a request that falls to another one has that one's kind.
        api: The API that is spoken.
        stream: `stream` is JSON's true.
    """
    if not stream or not api.has_usage_option or kind in _REPORT:
        return False
    return setting == "inject" or (setting == "auto" and kind in _ASKED_BY_ITSELF)


def asks_for_progress(kind: UpstreamKind, path: bytes, *, stream: bool) -> bool:
    """Whether ``return_progress`` is added to a request whose client wants prefill progress."""
    return stream and kind == "llama-server" and path in _PROGRESS_PATHS
