"""How the answer to a client ended, by table."""

import json

import pytest

from .endings import Answer, Ending, Stop, judge

WANTED = "w1 w2 "


def chunk(text: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


def stream(body: bytes, stop: Stop = Stop.END, status: int = 200) -> Answer:
    return Answer(status=status, content_type="text/event-stream", body=body, stop=stop)


def plain(body: object, stop: Stop = Stop.END, status: int = 200) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, content_type="application/json", body=data, stop=stop)


def said(text: str) -> dict[str, object]:
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


ERROR = {"error": {"message": "cannot", "type": "server_error", "code": "x"}}
ERROR_FRAME = b"data: %b\n\n" % json.dumps(ERROR).encode()
DONE = b"data: [DONE]\n\n"
WORDS = chunk("w1 ") + chunk("w2 ")
ALL = WORDS + chunk(finish="stop") + DONE


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (stream(ALL), Ending.WHOLE),
        (stream(b": beat\n\n" + ALL), Ending.WHOLE),
        (stream(ALL.replace(b"\n", b"\r\n")), Ending.WHOLE),
        (stream(WORDS + ERROR_FRAME + DONE), Ending.ERROR),
        (stream(WORDS + ERROR_FRAME, Stop.CUT), Ending.ERROR),
        (stream(WORDS, Stop.CUT), Ending.CUT),
        (stream(ALL, Stop.CUT), Ending.CUT),
        (stream(WORDS, Stop.TIMEOUT), Ending.HANG),
        (stream(WORDS), Ending.SILENT),
        (stream(WORDS + DONE), Ending.SILENT),
        (stream(WORDS + chunk(finish="stop")), Ending.SILENT),
        (stream(chunk("w1 ") + chunk(finish="stop") + DONE), Ending.SILENT),
        (stream(WORDS + WORDS + chunk(finish="stop") + DONE), Ending.SILENT),
        (stream(ALL.removesuffix(b"\n")), Ending.WHOLE),
        (stream(b""), Ending.SILENT),
        (plain(said(WANTED)), Ending.WHOLE),
        (plain(said("w1 ")), Ending.SILENT),
        (plain(b'{"choices": [{"mess'), Ending.SILENT),
        (plain(b'{"choices": [{"mess', Stop.CUT), Ending.CUT),
        (plain(b""), Ending.SILENT),
        (plain(ERROR), Ending.ODD),
        (plain(ERROR, status=502), Ending.ERROR),
        (plain(ERROR, Stop.CUT, status=502), Ending.CUT),
        (plain(b"<h1>Bad Gateway</h1>", status=502), Ending.ODD),
        (plain({"error": "cannot"}, status=502), Ending.ODD),
        (plain(said(WANTED), status=206), Ending.ODD),
        (Answer(stop=Stop.CUT), Ending.CUT),
        (Answer(stop=Stop.TIMEOUT), Ending.HANG),
        (Answer(stop=Stop.GARBAGE), Ending.ODD),
        (Answer(stop=Stop.END), Ending.ODD),
    ],
)
def test_an_answer_ends_in_one_way(answer: Answer, ending: Ending) -> None:
    assert judge(answer, WANTED) is ending


def test_of_a_text_that_nobody_can_know_the_models_own_end_counts() -> None:
    assert judge(stream(ALL), None) is Ending.WHOLE
    assert judge(stream(WORDS), None) is Ending.SILENT
