"""Body of a request -> model and stream.

Only two members of the body are looked at (a third by those that wait); the rest is never built as
Python objects and goes upstream byte for byte.
"""

import copy
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from arriero.protocol.read_json import BadJson, JsonReader
from arriero.protocol.worker_config import (
    DEFAULT_MARKER,
    FORMER_MARKERS,
    BodyFilters,
    ModelRoute,
    PeerModel,
    PeerRoute,
    WorkerConfig,
)

from ..errors import BadRequest, UnknownModel
from ..http.bounded_search import finds
from ..json.filters import BodyChanges
from ..json.rules import BodyRules
from .base.keep_alive import read_keep_alive
from .strip_progress import Stripper

# Characters of a name that are repeated back in an error.
_SHOWN_CHARS = 120

# Names that are told to who asks for one that is like none of them.
_MAX_NAMES_SHOWN: Final = 6

# Names among which a likely one is looked for, and how much of each is compared: difflib takes
# about 10 us for each, and a hundred times that for long names that are made for it.
_MAX_NAMES_COMPARED = 200
_COMPARED_CHARS = 60

# Said by Ollama's clients of names without a version.
_USUAL_TAG: Final = ":latest"

# Longest name that any model has: what is longer is like none.
_MAX_LIKELY_CHARS = 300


# Bytes of a path that is held against the patterns of the configuration.
_LONGEST_LOOKED_AT = 4096


class BodyFields(NamedTuple):
    """What a body asks for.

    Attributes:
        model: The model's name; empty if none is said.
        stream: A stream is wanted.
        keep_s: Seconds for which the model is to be kept, at most, after this request; None if
            that is not said.
    """

    model: str
    stream: bool
    keep_s: float | None = None


_NOT_SAID = msgspec.Raw(b"")

# What msgspec says of a wrong type, and what it calls each.
_WRONG_TYPE = re.compile(r"Expected `[^`]*`, got `([a-z]+)`(?: - at `\$\.(\w+)`)?")
_JSON_TYPES = {
    "str": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "nothing",
}


class _Members(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    keep_alive: msgspec.Raw = _NOT_SAID


_members = JsonReader(_Members)


def read_body(body: bytes) -> BodyFields:
    """Return the model and the stream flag of `body`.

    Raises:
        BadRequest: It is no JSON object, or has a member of the wrong type.
    """
    try:
        members = _members.read(body)
    except BadJson as exc:
        raise BadRequest(_what_is_wrong(str(exc))) from exc
    if members.keep_alive is _NOT_SAID:
        return BodyFields(members.model or "", bool(members.stream))
    keep_s = read_keep_alive(bytes(members.keep_alive))
    return BodyFields(members.model or "", bool(members.stream), keep_s)


def _what_is_wrong(told: str) -> str:
    """Say in words what msgspec says of a body."""
    found = _WRONG_TYPE.fullmatch(told)
    if found is None:
        return f"cannot read the body as JSON: {told}"
    is_there = _JSON_TYPES.get(found[1], found[1])
    if found[2] is None:
        return f"cannot read the body: it must be an object, found {is_there}"
    must_be = "true or false" if found[2] == "stream" else "a text"
    return f"cannot read the body: '{found[2]}' must be {must_be}, found {is_there}"


class _Progress(msgspec.Struct):
    return_progress: bool | None = None


_progress = JsonReader(_Progress)


def asks_for_prefill_itself(body: bytes) -> bool:
    """Whether a request asks llama-server itself for prompt progress."""
    if body.find(b"return_progress") < 0:
        return False
    found = _progress.find(body)  # None: of a shape that only the upstream can judge
    return found is not None and bool(found.return_progress)


class Detour(NamedTuple):
    """What is done with a request before it goes to its model.

    Attributes:
        selector: Chooses the model: the supervisor is asked for it. None for none.
        changes: Made in its body; None for none.
        places: The model that several machines have: the supervisor is asked for one. None if one
            has it.
    """

    selector: str | None = None
    changes: BodyChanges | None = None
    places: str | None = None


class Target(NamedTuple):
    """Where a name leads.

    Attributes:
        route: The model; of a selector its first target, of several machines that of the first.
        peer: Where it is; None if it is here.
        detour: What is done before; None for nothing, as with most.
    """

    route: ModelRoute
    peer: PeerRoute | None = None
    detour: Detour | None = None


class ModelNames:
    """All names of models.

    Pins of the chosen profile go first, then selectors, ids, aliases, and names of peers.

    Attributes:
        config: What the names were read from.
        rules: Changes in bodies; None for none, as with most.
        strip, strip_large: Take our own words out of what clients send back.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.rules = BodyRules(config.rules) if config.rules else None
        stripper = Stripper((config.marker, *config.old_markers, DEFAULT_MARKER, *FORMER_MARKERS))
        self.strip = stripper.strip
        self.strip_large = stripper.strip_large
        found: dict[str, Target] = {}
        for route in config.models:
            for alias in route.aliases:
                found.setdefault(alias, _here(route, alias))
        found.update({route.model: _here(route, route.model) for route in config.models})
        known: dict[PeerModel, Target] = {}  # most have two names
        for name, model in config.peer_models.items():
            peer = config.peers[model.peer]
            target = known.get(model) if peer.filters is None else None
            if target is None:
                target = known[model] = _at_peer(peer, model.model, name)
            found.setdefault(name, target)
        self._plain = dict(found) if config.selectors or config.places else found
        _spread(found, config.places)
        self._placed = dict(found) if config.selectors and config.places else found
        for selector in config.selectors:
            first = _led_to(found, selector.targets[0])
            if selector.strategy != "pin":
                first = first._replace(detour=Detour(selector.selector))
            found[selector.selector] = first
        self._ignored = [re.compile(pattern) for pattern in config.ignore_paths]
        self._pins = _pins(config)
        self._unpinned = found
        self._targets = dict(found) if self._pins else found
        for name, pinned in self._pins.items():
            if pinned:
                self._targets[name] = _led_to(found, pinned)
            else:
                self._targets.pop(name, None)
        self._models: frozenset[str] | None = None
        self._is_restricted = False
        named = self._targets.keys() | self._pins.keys()
        self._most_slashes = max((name.count("/") for name in named), default=0)

    def restricted(self, patterns: Iterable[str]) -> "ModelNames":
        """Return what is left of the names for a key that may use some of them only.

        See `keep_only`.
        """
        found = copy.copy(self)
        found.keep_only(patterns)
        return found

    def keep_only(self, patterns: Iterable[str]) -> None:
        """Forget all names that no pattern fits: they lead nowhere.

        Or the id of the model that they lead to. Of a selector, and of what a profile leads
        elsewhere, the name alone counts.

        Args:
            patterns: With ``*``, ``?`` and ``[ab]``.
        """
        fits = re.compile("|".join(map(translate, patterns)) or "(?!)").match
        config = self.config
        selectors = {it.selector for it in config.selectors}
        here = {it.model for it in config.models}
        by_name = selectors | self._pins.keys() | (config.places.keys() - here)
        self._is_restricted = True
        self._models = None
        self._targets = {
            name: target
            for name, target in self._targets.items()
            if fits(name) or (name not in by_name and fits(target.route.model))
        }
        self._unpinned = {
            name: target
            for name, target in self._unpinned.items()
            if fits(name)
            or (name not in selectors | config.places.keys() - here and fits(target.route.model))
        }
        self._pins = {name: target for name, target in self._pins.items() if fits(name)}
        left = self._targets.keys()
        self.config = replace(
            config,
            models=tuple(
                it for it in config.models if not left.isdisjoint((it.model, *it.aliases))
            ),
            peer_models={name: it for name, it in config.peer_models.items() if name in left},
            places={name: it for name, it in config.places.items() if name in left},
            selectors=tuple(it for it in config.selectors if it.selector in left),
            profiles=tuple(
                replace(it, pins={name: to for name, to in it.pins.items() if fits(name)})
                for it in config.profiles
            ),
        )

    def has(self, name: str) -> bool:
        """Whether a name of the configuration is one of those that may be used."""
        return not self._is_restricted or name in self._targets

    def shows(self, model: str) -> bool:
        """Whether what is known of the model of that id may be told: a name leads there."""
        return model in self.ids()

    def ids(self) -> frozenset[str]:
        """Return the ids of all models to which a name leads."""
        if self._models is None:
            self._models = frozenset(it.route.model for it in self._targets.values())
        return self._models

    def first(self) -> str:
        """Return the first model's name, for requests without one.

        Raises:
            UnknownModel: There are no models.
        """
        if not self._targets:
            raise UnknownModel("cannot find any model: the configuration has none")
        usual = (route.model for route in self.config.models if route.model in self._targets)
        return next(usual, next(iter(self._targets)))

    @property
    def sole(self) -> str | None:
        """The name of the only model there is, which a request without one means."""
        config = self.config
        others = config.peer_models or config.selectors or self._pins
        if len(config.models) != 1 or others:
            return None
        model = config.models[0]
        return next((it for it in (model.model, *model.aliases) if it in self._targets), None)

    def without_usual_tag(self, name: str) -> str:
        """Return the name that is meant by Ollama's clients.

        Where no version of a model is named they say ``:latest``. Names here may have it or not.
        """
        short = name.removesuffix(_USUAL_TAG)
        return short if name not in self._targets and short in self._targets else name

    def id_of(self, name: str) -> str:
        """Return the id of the model that `name` stands for; of an unknown one the name itself."""
        target = self._targets.get(name)
        return name if target is None else target.route.model

    def find(self, name: str) -> Target:
        """Return where `name` leads.

        Raises:
            UnknownModel: Nowhere; the message says which names look like it.
        """
        target = self._targets.get(name)
        if target is None:
            if name in self._pins:
                raise UnknownModel(
                    f"cannot use the model '{name}': the profile '{self.config.profile}' has it "
                    "switched off; choose another profile, or another model"
                )
            raise UnknownModel(_not_found(name, self._targets))
        return target

    def find_unpinned(self, name: str) -> Target:
        """Return where `name` leads whatever profile is chosen.

        That is for what is done with a model itself: to stop it, or to read its log.

        Raises:
            UnknownModel: Nowhere.
        """
        target = self._unpinned.get(name)
        if target is None:
            raise UnknownModel(_not_found(name, self._unpinned))
        return target

    def find_own(self, model: str) -> Target:
        """Return the model here whose id that is, whatever else has this name.

        Raises:
            UnknownModel: There is none.
        """
        target = self._unpinned.get(model)
        if target is None or target.route.model != model or target.peer != target.route.remote:
            raise UnknownModel(f"cannot find a model named '{model}' here; its id has to be that")
        return target

    def split(self, path: bytes) -> tuple[str, bytes]:
        """Take the longest name of a model from the beginning of a path.

        Args:
            path: It begins with the name, which may have slashes, escaped or not.

        Returns:
            The name, and what follows of the path as it stands there; of one that begins with no
            name its first part.
        """
        parts = path.split(b"/", self._most_slashes + 1)
        for count in range(min(len(parts), self._most_slashes + 1), 0, -1):
            begins = b"/".join(parts[:count])
            name = unquote(begins.decode("latin-1"), errors="replace")
            if name in self._targets or name in self._pins:  # a pin may switch it off
                return name, path[len(begins) :]
        return unquote(parts[0].decode("latin-1"), errors="replace"), path[len(parts[0]) :] or b"/"

    def is_ignored(self, path: bytes) -> bool:
        """Whether requests for this path of a model's server never start it.

        So it is with paths that are longer than any that somebody has in mind, and with those at
        which a pattern of the operator's would have to look for too long.
        """
        if len(path) > _LONGEST_LOOKED_AT:
            return True
        return finds(self._ignored, path.decode("latin-1")) is not False

    def detour_of(self, name: str) -> Detour | None:
        """Return what is done with requests for `name` before; None also if it leads nowhere."""
        target = self._targets.get(name)
        return None if target is None else target.detour

    def find_chosen(self, name: str) -> Target:
        """Return where a selector leads that has chosen its target `name`.

        Raises:
            UnknownModel: Nowhere: the configuration has changed since.
        """
        if name not in self._placed:
            raise UnknownModel(_not_found(name, self._placed))
        return _led_to(self._placed, name)

    def find_place(self, name: str) -> Target:
        """Return one of the places of a model that several machines have.

        Raises:
            UnknownModel: It is none: the configuration has changed since.
        """
        if name not in self._plain:
            raise UnknownModel(_not_found(name, self._plain))
        return _led_to(self._plain, name)

    def is_limited(self, model: str) -> bool:
        """Whether the model with the id `model` takes a limited number of requests."""
        found = self._plain.get(model)
        return found is not None and found.route.concurrency_limit > 0

    def pins(self) -> Mapping[str, Target]:
        """Return the names that exist by the chosen profile only, and where they lead."""
        known = self._plain.keys() | {selector.selector for selector in self.config.selectors}
        return {
            name: self._targets[name]
            for name, target in self._pins.items()
            if target and name not in known
        }


def _spread(found: dict[str, Target], places: Mapping[str, Sequence[str]]) -> None:
    """Let all names of models that several machines have lead to any of these."""
    for name, targets in places.items():
        first = found.get(targets[0]) if targets else None
        if first is None:
            continue
        found.setdefault(name, first)
        for alias in (name, *(first.route.aliases if first.peer is None else ())):
            target = found[alias]
            if target.route.model == first.route.model:
                detour = target.detour or Detour()
                found[alias] = target._replace(detour=detour._replace(places=name))


def _pins(config: WorkerConfig) -> Mapping[str, str | None]:
    chosen = (one.pins for one in config.profiles if one.profile == config.profile)
    return next(chosen, {})


def _led_to(known: Mapping[str, Target], name: str) -> Target:
    """Return where `name` leads for requests that use another name: theirs means nothing there."""
    target = known[name]
    if target.route.send_as is None:
        target = target._replace(route=replace(target.route, send_as=name))
    return target


def _here(route: ModelRoute, name: str) -> Target:
    return Target(route, route.remote, _detour(route.filters, name))


def _detour(filters: BodyFilters | None, *names: str) -> Detour | None:
    """Return the filters of requests that use one of `names`; None for none."""
    if filters is None:
        return None
    own = [filters.set_params_by_id[name] for name in names if name in filters.set_params_by_id]
    changes = BodyChanges(filters.strip_params, filters.set_params, *own)
    return Detour(changes=changes) if changes else None


def _at_peer(peer: PeerRoute, model: str, name: str) -> Target:
    route = ModelRoute(
        model=f"{peer.peer}/{model}",
        send_as=model,
        progress=peer.progress,
        strict=peer.strict,
        kind=peer.kind,
        usage=peer.usage,
        timeouts=peer.timeouts,
        prices=peer.prices.get(model),
    )
    names = dict.fromkeys((model, f"{peer.peer}/{model}", name))
    return Target(route, peer, _detour(peer.filters, *names))


def _not_found(name: str, known: Mapping[str, Target]) -> str:
    shown = name if len(name) <= _SHOWN_CHARS else name[:_SHOWN_CHARS] + "..."
    likely = _likely(name, known) if len(name) <= _MAX_LIKELY_CHARS else []
    message = f"cannot find a model named '{shown}'"
    if likely:
        message += "; did you mean " + " or ".join(f"'{other}'" for other in likely) + "?"
        return message
    ids = (other for other, target in known.items() if other not in target.route.aliases)
    there = [f"'{other[:_SHOWN_CHARS]}'" for other in islice(ids, _MAX_NAMES_SHOWN + 1)]
    if len(there) > _MAX_NAMES_SHOWN:
        there[_MAX_NAMES_SHOWN:] = ["others"]
    if there:
        message += f"; there {'is' if len(there) == 1 else 'are'} {_listed(there)}"
    return message


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _likely(name: str, known: Iterable[str]) -> list[str]:
    """Return names that look like `name`, the best first."""
    near = (other for other in known if abs(len(other) - len(name)) <= len(name) + 4)
    by_beginning: dict[str, str] = {}
    for other in islice(near, _MAX_NAMES_COMPARED):
        by_beginning.setdefault(other[:_COMPARED_CHARS], other)
    found = difflib.get_close_matches(name[:_COMPARED_CHARS], by_beginning, n=3, cutoff=0.5)
    return [by_beginning[beginning] for beginning in found]
