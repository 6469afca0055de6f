"""How two configurations differ, and what that means for what runs.

Names of keys come out, never values: those may be secret.
"""

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Final

from arriero.digests import sha256
from arriero.protocol.values import ConfigChanges, ModelChange

from .model_config import MODEL, ModelConfig
from .values import CONFIG, Config

# What a process is started with, and how it is known to be ready. All else can be changed while it
# runs. A key is read by servers when they start: one that runs wants the old one, however it came
# to it (a file, a script), so another one is for the next start.
_STARTS: Final = frozenset(
    {"command", "proxy", "env", "check_endpoint", "api_key", "launcher", "templates", "ray"}
)

# Sockets are opened once: they are inherited by workers, or came from systemd. What outlives this
# process, and for how long, is settled when it starts.
_NEEDS_RESTART: Final = frozenset(
    {
        *("listen", "ollama_listen", "admin_listen", "control_listen", "control_key"),
        *("adopt", "supervisor_grace_s", "ray"),
    }
)


def diff(old: Config, new: Config) -> ConfigChanges:
    """Return what is different in `new`."""
    relaunch, adjusted = [], []
    olds, news = {**old.models, **old.remotes}, {**new.models, **new.remotes}
    for model in news.keys() & olds.keys():
        changed = changed_fields(olds[model], news[model])
        is_started = model in old.models and model in new.models
        starts = changed & _STARTS if is_started else frozenset()
        if starts:
            relaunch.append(ModelChange(model=model, keys=_of_model(starts)))
        if others := changed - starts:
            adjusted.append(ModelChange(model=model, keys=_of_model(others)))
    settings = changed_fields(old, new) - {"written_models"}
    return ConfigChanges(
        added=tuple(model for model in news if model not in olds),
        removed=tuple(model for model in olds if model not in news),
        relaunch=tuple(sorted(relaunch, key=_by_model)),
        adjusted=tuple(sorted(adjusted, key=_by_model)),
        settings=_settings(settings - _NEEDS_RESTART),
        needs_restart=_settings(settings & _NEEDS_RESTART),
    )


def what_comes_into_force(old: Config, new: Config) -> Config:
    """Return `new` without what takes a restart: that stays as it is in `old`.

    So it is found again by the next `diff`, until it is written back or arriero is restarted.
    """
    return replace(new, **{name: getattr(old, name) for name in _NEEDS_RESTART})


def launch_identity(model: ModelConfig) -> str:
    """Return a text that is another one when `model` is started otherwise."""
    key = sha256(model.api_key.encode()).hexdigest()
    return f"{model.fingerprint} {model.check_endpoint} {key}"


def summary(changes: ConfigChanges) -> str:
    """Return how much changes, on one line; empty when nothing does."""
    counts = (
        (changes.added, "added"),
        (changes.removed, "removed"),
        (changes.relaunch, "with another start"),
        (changes.adjusted, "adjusted"),
    )
    models = ", ".join(f"{len(found)} {what}" for found, what in counts if found)
    parts = [f"models: {models}"] if models else []
    if changes.settings:
        parts.append(f"settings: {', '.join(changes.settings)}")
    if changes.needs_restart:
        parts.append(f"needs a restart: {', '.join(changes.needs_restart)}")
    return "; ".join(parts)


def changed_fields(old: Config | ModelConfig, new: Config | ModelConfig) -> set[str]:
    """Return the names of the fields that differ, as far as they are compared at all."""
    if old is new:
        return set()
    return {
        found.name
        for found in fields(old)
        if found.compare and getattr(old, found.name) != getattr(new, found.name)
    }


def _settings(names: Collection[str]) -> tuple[str, ...]:
    """Return the keys of those fields; a list of prices is what the file says that a key names."""
    return CONFIG.names({"price_list" if name == "listed" else name for name in names})


def _of_model(names: Collection[str]) -> tuple[str, ...]:
    """Return the keys of those fields of a model; templates are what its launcher has."""
    return MODEL.names({"launcher" if name == "templates" else name for name in names})


def _by_model(change: ModelChange) -> str:
    return change.model
