"""How long a worker waits for others: one value for all of it, which tests make shorter."""

from typing import Final

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, and one count.

    Attributes:
        tick_s: Between two looks at the connections. A client that left is noticed at the second
            look after its request began, so within 0.8 s: the promise is 1 s.
        beat_pause_s: Shortest time between two looks at one stream's silence.
        head_s: For a whole head, from its first byte (from accepting, for the first one).
        idle_s: For the next request on a kept-alive connection; nginx has 75 as well.
        body_s: For the next `BODY_BYTES` of a body. Together they make 500 bytes a second, as
            Apache's `RequestReadTimeout` has it.
        write_s: For the client to take the next bytes.
        refusing_s: A local model's server may refuse connections although it counts as running. A
            process that ends closes its port first, and is reaped after its memory was given back.
        line_pause_s: Between two lines of progress, at least.
        prompt_pause_s: Between two reports of a prompt, at least. Prompts are read in batches of
            512 tokens or so, of which a fast machine does many in a second.
        prompt_every_s: Between two of them, at most: clients that time events want one every few
            seconds.
        blank_s: Between two blanks for a client that waits for JSON.
        unanswered: Requests of one worker to one model that may be without an answer. With two
            workers that is the backlog of llama-server, 512, and half of the files that it may
            open; no model works on as many.
        half_closed_s: Longest silence of one side of a tunnel, once the other one has ended.
        report_s: Between two reports to the supervisor.
        lost_s: Silence after which nobody waits for the supervisor any longer.
        silent_s: Silence after which no page waits for the supervisor: three of its heartbeats.
        query_s: For the supervisor's answer to a query: it asks all workers at the most, with a
            limit of one second.
    """

    tick_s: float = 0.4
    beat_pause_s: float = 0.05
    head_s: float = 30.0
    idle_s: float = 75.0
    body_s: float = 60.0
    write_s: float = 120.0
    refusing_s: float = 5.0
    line_pause_s: float = 1.0
    prompt_pause_s: float = 0.5
    prompt_every_s: float = 2.0
    blank_s: float = 10.0
    unanswered: int = 256
    half_closed_s: float = 60.0
    report_s: float = 1.0
    lost_s: float = 5.0
    silent_s: float = 3.0
    query_s: float = 3.0


LIMITS: Final = Limits()
