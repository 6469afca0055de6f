"""A preset file of llama-server's router (``--models-preset``) -> a configuration.

Source of the rules: llama.cpp, tools/server/README.md, section "Model presets";
common/preset.cpp; tools/server/server-models.cpp.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ..config.schema.model_types import is_name
from ..llamacpp.options import OPTIONS, Option, Use
from ..llamacpp.presets_ini import PresetRemark, Section, Setting, read_ini
from .write import Entry, can_be_id, document, words

_SERVER: Final = "llama-server --host 127.0.0.1 --port ${PORT}"
_GLOBAL: Final = "*"

# Values that turn a switch off; all others turn it on.
_NO: Final = frozenset({"0", "false", "off", "disabled"})

# Options that are not carried over, and why.
_LEFT_OUT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("host", "port"), "arriero chooses where each server listens"),
    **dict.fromkeys(
        ("api-key", "api-key-file"), "clients show their keys to arriero; write them under apiKeys"
    ),
    **dict.fromkeys(
        ("ssl-key-file", "ssl-cert-file", "reuse-port"), "clients speak to arriero, not to it"
    ),
    "api-prefix": "arriero would not find the server under it",
    **dict.fromkeys(
        ("models-dir", "models-max", "models-preset", "models-autoload"),
        "it is for llama-server's own router",
    ),
    **dict.fromkeys(
        ("usage", "cache-list", "completion-bash", "list-devices"),
        "it prints something and ends",
    ),
    "control-vector-layer-range": "it has two values, which a preset cannot give",
    "dedup-cache-models": "arriero lists the models of its configuration only",
}

# Any of these names the model.
_SOURCES: Final = ("model", "hf-repo", "model-url", "docker-repo")
_BUILT_IN: Final = ("-default", "-spec")  # such as --gpt-oss-20b-default


class Imported(msgspec.Struct, frozen=True):
    """The result of importing a preset.

    Attributes:
        text: The configuration; has no models if `models` is 0.
        models: How many it has.
        remarks: Settings that were left out or changed, in the order of the file.
    """

    text: str
    models: int
    remarks: tuple[PresetRemark, ...]


class _Preset(msgspec.Struct):
    """The merged settings of one section; later ones win."""

    options: dict[str, str] = msgspec.field(
        default_factory=dict
    )  # name -> part of the command; "" is none
    env: dict[str, str] = msgspec.field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    preload: bool = False
    unload_timeout_s: int = 0


def import_presets(text: str) -> Imported:
    """Return a configuration equivalent to the preset `text`.

    Never fails: what cannot be read or carried over stands in the remarks.
    """
    sections, remarks = read_ini(text)
    shared = _Preset()
    for section in sections:
        if section.name == _GLOBAL:
            shared = _read(section, remarks)
    found: dict[str, tuple[Section, _Preset]] = {}
    for section in sections:
        if section.name != _GLOBAL:
            preset = _read(section, remarks)
            if _can_be_model(section, {**shared.options, **preset.options}, remarks):
                found[section.name] = section, preset
    common = _common(shared, [preset for _, preset in found.values()])
    taken = set(found)
    entries, preload = [], []
    for name, (section, preset) in found.items():
        entries.append(_entry(section, preset, shared, common, taken, remarks))
        if preset.preload or shared.preload:
            preload.append(name)
    macros = {"server": [_SERVER, *common.values()]}
    ordered = tuple(sorted(remarks))
    top = ["Made from a preset of llama-server by arriero import."]
    if ordered:
        top += ["What is different, or was left out:", *(f"  {remark}" for remark in ordered)]
    text = document(
        entries,
        remarks=top,
        settings={"progress": "reasoning"},
        macros=macros,
        preload=preload,
    )
    return Imported(text, len(entries), ordered)


def _common(shared: _Preset, presets: Iterable[_Preset]) -> dict[str, str]:
    """Return the global options that no model overrides.

    These can be a macro.
    """
    own = {name for preset in presets for name in preset.options}
    return {name: part for name, part in shared.options.items() if part and name not in own}


def _entry(
    section: Section,
    preset: _Preset,
    shared: _Preset,
    common: Mapping[str, str],
    taken: set[str],
    remarks: list[PresetRemark],
) -> Entry:
    options = {**shared.options, **preset.options}
    if not _names_a_model(options):
        options["hf-repo"] = words("--hf-repo", section.name)
    aliases = []
    for alias in preset.aliases:
        if alias in taken:
            remarks.append(
                PresetRemark(section.line, f"alias {alias!r} was left out: it is a name already")
            )
        else:
            taken.add(alias)
            aliases.append(alias)
    return Entry(
        model=section.name,
        command=["${server}", *(o for name, o in options.items() if o and name not in common)],
        aliases=aliases,
        env=[f"{name}={value}" for name, value in {**shared.env, **preset.env}.items()],
        unload_timeout_s=preset.unload_timeout_s or shared.unload_timeout_s,
    )


def _can_be_model(
    section: Section, options: Mapping[str, str], remarks: list[PresetRemark]
) -> bool:
    if not can_be_id(section.name):
        what = "its name is too long, holds ${, or has characters that cannot be shown"
    elif _names_a_model(options) or "/" in section.name:
        return True
    else:
        what = "it says neither model nor hf-repo; llama-server knows it from its cache or folder"
    remarks.append(PresetRemark(section.line, f"section [{section.name}] was left out: {what}"))
    return False


def _names_a_model(options: Mapping[str, str]) -> bool:
    given = {name for name, part in options.items() if part and name != "spec-default"}
    return any(name in _SOURCES or name.endswith(_BUILT_IN) for name in given)


def _read(section: Section, remarks: list[PresetRemark]) -> _Preset:
    preset = _Preset()
    lines: dict[str, int] = {}
    for setting in section.settings:
        if setting.key == "version":
            continue
        use = OPTIONS.get(setting.key)
        name = use.option.name if use else setting.key
        if name in lines:
            remarks.append(
                PresetRemark(
                    setting.line, f"{setting.key} was set in line {lines[name]}; this one counts"
                )
            )
        lines[name] = setting.line
        if (remark := _take(preset, setting, use, section.name == _GLOBAL)) is not None:
            remarks.append(PresetRemark(setting.line, remark))
    return preset


def _take(preset: _Preset, setting: Setting, use: Use | None, is_global: bool) -> str | None:
    """Put `setting` into `preset`; return the remark on it."""
    key, value = setting.key, setting.value
    name = use.option.name if use else key
    if why := _LEFT_OUT.get(name):
        return f"{key} was left out: {why}"
    if name == "alias":
        names = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        if is_global or not all(map(is_name, names)):
            return "alias was left out: a name has to be that of one model, and can be shown"
        preset.aliases = names
    elif name == "load-on-startup":
        preset.preload = value not in _NO
    elif name == "stop-timeout":
        if not (value.isdecimal() and value.isascii() and 0 < len(value) < 6):
            return "stop-timeout was left out: it is not a whole number of seconds"
        preset.unload_timeout_s = int(value)
    elif use is not None:
        preset.options[name] = _part(use, value)
    elif key.startswith("LLAMA_"):
        preset.env[key] = value
        return f"{key} was set in the environment: arriero does not know the option it stands for"
    else:
        # Words by which this is known as a switch.
        switch = value in {"true", "false"}
        preset.options[name] = _part(Use(Option(name, f"no-{name}", not switch)), value)
        close = difflib.get_close_matches(key[:60], OPTIONS, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{key} is no option of llama-server that arriero knows; it was kept{hint}"
    return None


def _part(use: Use, value: str) -> str:
    """Return the option's part of the command; empty if none is needed."""
    option = use.option
    if option.takes_value:
        return words(f"--{option.name}", value)
    if (value not in _NO) != use.is_off:
        return words(f"--{option.name}")
    return words(f"--{option.off}") if option.off else ""
