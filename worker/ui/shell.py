"""The page as it comes, before any script runs.

It holds no data of anybody but names and states of models, and these only where no key is needed.
What it may do is in its policy: scripts and styles of its own, no others and none in the text, no
other host, no frame, no form; and texts never become markup (Trusted Types).
"""

import re
from pathlib import Path
from typing import Final

from ..apis.model_names import ModelNames
from ..progress.model_view import ProgressView
from .assets import ASSETS

TEMPLATES: Final = Path(__file__).parent / "templates"

VIEWS: Final = (
    ("train", "Train"),
    ("memory", "Memory"),
    ("requests", "Requests"),
    ("logs", "Logs"),
    ("decisions", "Decisions"),
    ("playground", "Playground"),
    ("configuration", "Configuration"),
)
"""Names of views, as paths have them, and as people read them; the first is shown at ``/``."""

# Paths of llama-swap's pages, which are in people's bookmarks.
_OTHER_NAMES: Final = {"models": "train", "activity": "requests", "": "train"}

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

FIELDS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of its head."""

# Models that are listed before the script has all of them.
_MAX_LISTED: Final = 50


def view_of(path: str) -> str | None:
    """Return the view at a path below ``/ui/``; None if there is none."""
    name = path.strip("/").partition("/")[0]
    name = _OTHER_NAMES.get(name, name)
    return name if name in dict(VIEWS) else None


def shell_parts(view: str, names: ModelNames | None, models: ProgressView) -> dict[str, object]:
    """Return what the template is filled with.

    Args:
        view: Which is shown first.
        names: Whose models are listed in it; None: nobody's.
        models: How they stand.
    """
    ASSETS.refresh()
    listed = names.config.models[:_MAX_LISTED] if names is not None and view == "train" else ()
    return {
        "url": ASSETS.url,
        "tree": ASSETS.tree,
        "view": view,
        "title": dict(VIEWS)[view],
        "views": VIEWS,
        "modules": [
            name
            for name in ASSETS.names
            if re.fullmatch(rf"main\.js|lib/\w+\.js|views/{view}(_\w+)?\.js", name)
        ],
        "styles": [name for name in ASSETS.names if name.endswith(".css")],
        "models": [
            (route.model, "ready" if route.remote else models.standing(route.model).state)
            for route in listed
            if not route.unlisted
        ],
    }
