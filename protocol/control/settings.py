"""The configuration: its files, and to put them in force."""

from decimal import Decimal
from typing import Literal

from ..values import ConfigChanges, MessageValue
from .base import ControlReply, ControlRequest


class ReloadRequest(ControlRequest, frozen=True, kw_only=True, tag="reload"):
    """Read the configuration again, and put in force what changed.

    Attributes:
        dry_run: Only report what would change.
        drain: Models that run with an older command end after their running requests, and are
            started with the new one by the next request. Otherwise they go on as they are.
    """

    dry_run: bool = False
    drain: bool = False


class ReloadReply(ControlReply, frozen=True, kw_only=True):
    """The files can be used.

    Attributes:
        generation: Of the configuration that is in force now.
        applied: It came into force now, in all workers; False: it was a dry run, or nothing is
            different.
        changes: Made, or to be made.
        draining: Models that end because they run with an older command, and were asked to drain.
    """

    generation: int
    applied: bool
    changes: ConfigChanges
    draining: tuple[str, ...] = ()


class ConfigRequest(ControlRequest, frozen=True, kw_only=True, tag="config"):
    """The files of the configuration as they are now, without secrets, and what is wrong in them.

    Nothing is changed. What a reload would change is told as well.
    """


class ConfigFile(MessageValue, frozen=True, kw_only=True):
    """A file of the configuration.

    Attributes:
        name: As it was given.
        text: Without secrets and comments; the lines are those of the file.
        is_cut: There is more of it.
    """

    name: str
    text: str
    is_cut: bool = False


class ConfigRemark(MessageValue, frozen=True, kw_only=True):
    """Something to know of a place in a file.

    Attributes:
        kind: `error` keeps it from being used, `warning` is surely not meant, `note` may well be.
        file: Its name.
        line, column: From 1; 0 where something is missing altogether.
        path: The key; may be empty.
        message: What is wrong, and what would do.
    """

    kind: Literal["error", "warning", "note"]
    file: str
    line: int
    column: int
    path: str
    message: str


class KeyStatus(MessageValue, frozen=True, kw_only=True):
    """A client's key in force, what it is good for, and what it has used today (UTC).

    Attributes:
        name, scopes, models, concurrency, daily_tokens, daily_cost: As in the configuration.
        requests: How many have ended.
        tokens: Of prompts and answers.
        cost_usd: As far as prices are known.
    """

    name: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    concurrency: int
    daily_tokens: int
    daily_cost: Decimal | None
    requests: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)


class ConfigReply(ControlReply, frozen=True, kw_only=True):
    """The configuration.

    Attributes:
        generation: Of that in force.
        files: In the order in which they are merged.
        remarks: By their places; errors are all told before others.
        more: Remarks that are left out.
        changes: What a reload would change; None: the files cannot be used.
        keys: Those with names.
        plain_keys: How many there are without: they are good for everything.
    """

    generation: int
    files: tuple[ConfigFile, ...]
    remarks: tuple[ConfigRemark, ...]
    more: int
    changes: ConfigChanges | None
    keys: tuple[KeyStatus, ...]
    plain_keys: int
