"""The turns of a WebSocket of the Responses API: from ``response.create`` to the end.

Each turn has an account of its own, as a request has that comes by itself. Only the messages that
begin one are changed, and these in the model's name only.

Source: OpenAI's API reference, "Responses", "WebSocket events".
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec

from arriero.protocol.read_json import BadJson, JsonReader

from ..accounting.account import Account
from ..accounting.response_reader import read_frames
from ..accounting.usage import prompt_estimate
from ..apis.model_names import ModelNames, Target
from ..apis.responses.merge import ENDS
from ..errors import BadRequest, ClientGone, RelayError
from ..json.edit import check_one_model, edit
from ..json.large_body import LargeBody, Strip
from .frames import WsMessage

_CREATE: Final = "response.create"
# Quotes are escaped inside of JSON's strings, so the text of an answer cannot look like this.
_END_HINTS: Final = tuple(b'"%b"' % name.encode() for name in sorted(ENDS))

# Turns that a client may begin before the first of them has ended. The official server runs one
# after the other.
_MAX_OPEN: Final = 16

_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")


class _Type(msgspec.Struct):
    type: str | None = None


class _ModelMember(msgspec.Struct):
    model: str | None = None


_type = JsonReader(_Type)
_model_member = JsonReader(_ModelMember)


def type_of(data: bytes) -> str | None:
    """Return the ``type`` of a JSON object; None if it is none, or has none."""
    found = _type.find(data)
    return None if found is None else found.type


def begins_turn(message: WsMessage) -> bool:
    """Whether a message of the client is a ``response.create``."""
    return message.is_text and type_of(message.data) == _CREATE


def ends_turn(message: WsMessage) -> bool:
    """Whether a message of the model ends a turn."""
    data = message.data
    if not message.is_text or all(data.find(hint) < 0 for hint in _END_HINTS):
        return False
    return type_of(data) in ENDS


class _Turn(NamedTuple):
    """One that is under way.

    Attributes:
        account: Of it.
        prompt_tokens: About how many it asks about.
    """

    account: Account
    prompt_tokens: int


class ResponsesTurns:
    """The turns of one socket.

    Args:
        names: The models.
        open_turn: Called when a turn begins; gives its account.
        end_turn: Called when it has ended, with its account.
        choose: Asks a selector, given by its name, for one of its targets.
        admit: Called before a turn begins: asks whether it may; None: all may.

    Attributes:
        target: The model that the first turn named, or that serves in its place, for all of them.
    """

    def __init__(
        self,
        names: ModelNames,
        open_turn: Callable[[], Account],
        end_turn: Callable[[Account], None],
        choose: Callable[[str], Awaitable[Target]],
        admit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.target: Target | None = None
        self._wanted = ""  # the model that the first turn named
        self._elsewhere: Target | None = None
        self._choose = choose
        self._admit = admit
        self._chosen: dict[str, Target] = {}  # by the name of its selector
        self._names = names
        self._open_turn = open_turn
        self._end_turn = end_turn
        self._open: deque[_Turn] = deque()

    @property
    def is_open(self) -> bool:
        """Whether a turn is under way."""
        return bool(self._open)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another model serves than the one that was named."""
        return self._elsewhere is not None

    @property
    def strip_large(self) -> Strip:
        """Takes our own words out of a long message."""
        return self._names.strip_large

    async def ask_first(self, message: WsMessage, large: LargeBody | None = None) -> None:
        """Ask whether a turn may begin; and which model the first message means.

        To be called before `say`, with the same.

        Raises:
            RelayError: It may not; or it names a selector, and none of its targets can be had.
        """
        if self._admit is not None:
            text = message.data if large is None else large.outline
            if begins_turn(WsMessage(text, message.is_text)):
                await self._admit()
        found = _model_member.find(message.data if large is None else large.outline)
        if self.target is not None or found is None or not found.model:
            return
        detour = self._names.detour_of(found.model)
        if detour is not None and detour.selector is not None:
            self._chosen[found.model] = await self._choose(detour.selector)

    def say(self, message: WsMessage, large: LargeBody | None = None) -> WsMessage:
        """Take a message of the client and return it as it goes to the model.

        Args:
            message: The message.
            large: What is known of a long one.

        Raises:
            RelayError: It cannot go there. The turn that it was to begin is open.
        """
        text = message.data if large is None else large.outline
        begins = begins_turn(WsMessage(text, message.is_text))
        if not begins and self.target is not None:
            return message
        if len(self._open) >= _MAX_OPEN:
            raise BadRequest(f"cannot begin more than {_MAX_OPEN} turns before one has ended")
        account = self._open_turn()
        self._open.append(_Turn(account, prompt_estimate(message.data)))
        account.stream = True
        if not begins:
            raise BadRequest(f"the first message has to be a JSON object of the type '{_CREATE}'")
        name = _model_in(text)
        account.asked = name or ""
        target = self.target = self._find(name)
        self._wanted = self._wanted or target.route.model
        account.model = target.route.model
        account.prices = target.route.prices
        return _named(self._names.strip(text), large, target.route.send_as)

    def lead_to(self, target: Target) -> None:
        """Let `target` serve all turns in the place of the model that the first one named."""
        self.target = self._elsewhere = target

    def renamed(self, message: WsMessage, large: LargeBody | None = None) -> WsMessage:
        """Return what `say` has returned with the name of the model that serves."""
        assert self.target is not None  # it was named in that message
        return _named(message.data, large, self.target.route.send_as)

    def _find(self, name: str | None) -> Target:
        target = self.target
        if not name:
            if target is None:
                raise BadRequest("cannot tell which model is meant: the message has no 'model'")
            return target
        found = self._chosen.get(name) or self._names.find(name)
        if target is not None and found.route.model not in (self._wanted, target.route.model):
            raise BadRequest(
                f"this socket is one for '{self._wanted}'; open another one for "
                f"'{found.route.model}'"
            )
        return self._elsewhere or found

    def hear(self, message: WsMessage, now: float) -> None:
        """Read a message of the model, which the client has got."""
        if not self._open:
            return
        account = self._open[0].account
        account.bytes_out += len(message.data)
        if not message.is_text:
            return
        line = message.data.translate(_LINE_ENDS)  # outside of texts, where they are blanks
        read_frames(account, b"data: %b\n\n" % line, now)
        if ends_turn(message):
            account.last_byte_at = now
            self._end_turn(self._open.popleft().account)

    def end(self, error: RelayError | ClientGone) -> None:
        """End all turns that are under way, because of `error`. May be called again."""
        while self._open:
            account, prompt_tokens = self._open.popleft()
            if isinstance(error, ClientGone):
                account.client_left()
            else:
                account.failed(error)
            if account.was_given_up:
                account.wasted_tokens = prompt_tokens
            self._end_turn(account)


def _named(text: bytes, large: LargeBody | None, model: str | None) -> WsMessage:
    if large is None:
        return WsMessage(edit(text, model=model).body)
    edited = edit(large.body, model=model, members=large.members)
    return WsMessage(b"".join(edited.parts) or edited.body)


def _model_in(data: bytes) -> str | None:
    check_one_model(data)
    try:
        return _model_member.read(data).model
    except BadJson as exc:
        raise BadRequest(f"cannot tell which model is meant: {exc}") from exc
