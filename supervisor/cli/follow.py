"""Follows events until Ctrl-C: over gaps, and over restarts of the supervisor."""

from collections.abc import Callable

from arriero.protocol.control.base import Refusal
from arriero.protocol.control.running import StatusReply, StatusRequest
from arriero.protocol.events import AnyEvent

from .connection import ControlConnection, Subscription
from .event_feed import Feed, Next
from .find_sockets import CommandRefused, SupervisorUnreachable
from .output import note
from .render.text import refusal_line
from .session import Session

# Longest pause between two looks at the connection. Heartbeats come about as often.
_LOOK_S = 1.0


def present_state(link: ControlConnection, within_s: float) -> StatusReply:
    """Ask for the whole state.

    Raises:
        SupervisorUnreachable: There is no supervisor, or it does not answer.
        CommandRefused: It does not answer that.
    """
    reply = link.ask(StatusRequest(), StatusReply, within_s=within_s)
    if isinstance(reply, Refusal):
        raise CommandRefused(refusal_line(reply.error))
    return reply


def show_then_follow(
    session: Session, feed: Feed, show: Callable[[AnyEvent], None], past: Callable[[], None]
) -> None:
    """Show the past, then each event of `feed`. Never returns: Ctrl-C ends it.

    Args:
        session: The command.
        feed: Chooses what is shown; `past` marks there what it has shown (`Feed.shown`).
        show: Shows one event.
        past: Asks for what was before and shows it; called once nothing can be missed any more.

    Raises:
        SupervisorUnreachable: There is no supervisor, or it does not answer.
        CommandRefused: It does not answer that.
    """
    with session.link.subscribe(feed.topics()) as subscription:
        follower = Follower(session.link, feed, show=show, note=note, within_s=session.within_s)
        follower.show_present()
        past()
        follower.follow(subscription)


class Follower:
    """Shows the present, then what follows.

    Args:
        link: The way to the supervisor.
        feed: Chooses what is shown.
        show: Shows one event.
        note: Tells of what is no event: a loss, a restart.
        within_s: Longest wait in seconds for an answer about the present.
    """

    def __init__(
        self,
        link: ControlConnection,
        feed: Feed,
        *,
        show: Callable[[AnyEvent], None],
        note: Callable[[str], None],
        within_s: float,
    ) -> None:
        self._link = link
        self._feed = feed
        self._show = show
        self._note = note
        self._within_s = within_s

    def show_present(self) -> None:
        """Show the whole state, as events.

        Raises:
            SupervisorUnreachable: There is no supervisor, or it does not answer.
        """
        for event in self._feed.present(present_state(self._link, self._within_s)):
            self._show(event)

    def follow(self, subscription: Subscription) -> None:
        """Show events as they come.

        Never returns: the wait is the user's to end, with Ctrl-C.
        """
        lost = False
        while True:
            subscription.wait(_LOOK_S)
            match subscription.connection():
                case False:
                    self._note("the supervisor is gone; waiting for it to come back")
                    lost = True
                case True:
                    lost = True  # gone and back between two looks
                case None:
                    pass
            events = subscription.take()
            if lost:
                lost = not self._begin_again("the supervisor is there again")
                continue
            for event in events:
                match self._feed.judge(event):
                    case Next.SHOW:
                        self._show(event)
                    case Next.RESTART:
                        lost = not self._begin_again("some events were missed; this is the state")
                        break  # the rest of them is older than the answer
                    case Next.SKIP:
                        pass

    def _begin_again(self, why: str) -> bool:
        try:
            status = present_state(self._link, self._within_s)
        except (SupervisorUnreachable, CommandRefused):
            return False  # not yet: asked again at the next look
        self._note(why)
        for event in self._feed.present(status):
            self._show(event)
        return True
