"""Holds the place of a model on a node of the cluster, and runs the agent there.

Ray makes one where there is room, from this class, which the node's own arriero has. What it has to
do is to be there: when it ends, or its node, the agent's input does, and so the agent.
"""

import os
import subprocess
import sys
import threading
from typing import Final

from arriero.protocol.errors import ProtocolError
from arriero.protocol.remote.launch import (
    LAUNCH_VERSION,
    MAX_LAUNCH_BYTES,
    AgentOrder,
    Placed,
    PlaceRefused,
    line_of,
    read_agent_up,
)

_AGENT: Final = "arriero.supervisor.ray.agent"

# Seconds for the agent to end: it kills its server.
_END_S: Final = 30.0

# Seconds until there is an agent. A bridge asks for it at once; one that was killed meanwhile never
# does, and what the place has taken of its node would be taken for ever.
BEGIN_S: Final = 30.0


class PlaceHolder:
    """One place. What it is asked comes from the bridge; it ends if that asks nothing.

    Args:
        begin_s: Seconds until it has to have an agent.
    """

    def __init__(self, begin_s: float = BEGIN_S) -> None:
        self._agent: subprocess.Popen[bytes] | None = None
        self._has_agent = threading.Event()
        threading.Thread(target=self._end_unless_begun, args=[begin_s], daemon=True).start()

    def begin(self, version: int, node: str, host: str, key: str) -> bytes:
        """Start the agent; return a line with a `Placed`, or a `PlaceRefused`.

        Args:
            version: Of the messages that the other machine speaks.
            node: Of this machine, as Ray knows it; empty: it is asked.
            host: The address of this machine, likewise.
            key: Public key of the tether.
        """
        if version != LAUNCH_VERSION:
            return line_of(
                PlaceRefused(
                    why=f"the arriero on {os.uname().nodename} is of another version; install the "
                    "same on all machines"
                )
            )
        agent = self._agent = subprocess.Popen(
            [sys.executable, "-m", _AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._has_agent.set()
        threading.Thread(target=self._end_with, args=[agent], daemon=True).start()
        assert agent.stdin is not None
        assert agent.stdout is not None
        agent.stdin.write(line_of(AgentOrder(host=host, key=key)))
        agent.stdin.flush()
        try:
            up = read_agent_up(agent.stdout.readline(MAX_LAUNCH_BYTES))
        except ProtocolError as exc:
            return line_of(PlaceRefused(why=f"cannot run an agent on {os.uname().nodename}: {exc}"))
        name = os.uname().nodename
        return line_of(Placed(node=node, name=name, host=host, port=up.port, key=up.key))

    def end(self) -> None:
        """End the agent, and with it the server; return when they are gone."""
        if self._agent is not None:
            assert self._agent.stdin is not None
            self._agent.stdin.close()
            self._agent.wait(_END_S)

    def _end_unless_begun(self, begin_s: float) -> None:
        if not self._has_agent.wait(begin_s):
            os._exit(0)

    def _end_with(self, agent: "subprocess.Popen[bytes]") -> None:
        """End when the agent has: the place is free then."""
        agent.wait()
        os._exit(0)  # a thread cannot end its process otherwise
