"""What is known of peers, and what their files keep of it."""

from pathlib import Path

import pytest

from arriero.protocol.values import PeerModelStatus, PeerStatus
from arriero.supervisor.config.names import PeerConfig
from arriero.supervisor.peers.choice import Candidate
from arriero.supervisor.peers.kept_lists import load_lists, save_lists
from arriero.supervisor.peers.state import KeptList, PeerStates, expected_wait_s
from arriero.supervisor.peers.told import ThereModel, ToldList

URL = "http://user:secret@box2:8080"


def peer(name: str = "box2", url: str = URL, *models: str) -> PeerConfig:
    return PeerConfig(peer=name, url=url, written_models=models or "auto")


def states(*peers: PeerConfig) -> PeerStates:
    found = PeerStates(chance=lambda: 0.0)
    found.follow(peers or (peer(),))
    return found


def told(**models: ThereModel) -> ToldList:
    return ToldList(models=models, is_arriero=True)


A = told(a=ThereModel(state="ready", running=2), b=ThereModel(state="stopped"))


def test_a_list_is_kept_when_its_machine_goes() -> None:
    known = states()
    assert known.listed("box2", A, 1.0, 1000.0)
    known.is_away("box2", "refused", 2.0)

    assert known.told() == {"box2": ("a", "b")}
    assert known.statuses(2.0, 1001.0) == (
        PeerStatus(
            peer="box2",
            url="http://***@box2:8080",
            kind="arriero",
            watched=True,
            link="away",
            circuit="open",
            why="refused",
            retry_at=1002.0,
            models=2,
            listed_at=1000.0,
        ),
    )
    assert not known.listed("box2", A, 3.0, 1002.0)  # the same models as before
    (status,) = known.statuses(3.0, 1002.0)
    assert (status.link, status.circuit, status.why, status.listed_at) == (
        "up", "closed", "", 1002.0,
    )  # fmt: skip
    assert status.running == (PeerModelStatus(model="a", state="ready", running=2),)


def test_an_answer_that_is_no_list_changes_no_models() -> None:
    known = states()
    known.listed("box2", A, 1.0, 1000.0)
    known.unlisted("box2", "it refuses the apiKey", 2.0)

    (status,) = known.statuses(2.0, 1001.0)
    assert (status.models, status.link, status.circuit) == (2, "up", "closed")
    assert status.why == "it refuses the apiKey"


def test_a_machine_is_a_candidate_for_its_models() -> None:
    known = states()
    known.listed("box2", A, 1.0, 1000.0)
    box = known.find("box2")

    assert box is not None
    place = "http://***@box2:8080"
    assert box.candidate("a", 1.0) == Candidate(
        target="box2/a", host="box2", ident=place, state="ready", running=2
    )
    known.is_away("box2", "refused", 2.0)
    assert box.candidate("a", 2.0) == Candidate(
        target="box2/a", host="box2", ident=place, usable=False
    )


def test_errors_are_a_models_and_silence_is_the_machines() -> None:
    known = states(peer("box2", URL, "a", "b"))
    for _ in range(3):
        assert not known.failed("box2", "a", "error", "status 500", 1.0)
    box = known.find("box2")
    assert box is not None
    assert (box.is_usable("a", 1.0), box.is_usable("b", 1.0)) == (False, True)
    assert known.statuses(1.0, 1.0)[0].failing == ("a",)

    assert known.failed("box2", "b", "unreachable", "refused", 1.5)
    assert not known.failed("box2", "b", "unreachable", "refused", 1.6)
    assert not box.is_usable("b", 1.6)
    known.sent("box2", "a", 3.0)
    known.succeeded("box2", "a", 3.1)
    assert box.is_usable("a", 3.1)
    assert known.statuses(3.1, 1.0)[0] == PeerStatus(
        peer="box2", url="http://***@box2:8080", kind="openai", failures=5, models=2
    )


def test_silence_of_a_model_does_not_say_that_its_machine_is_back() -> None:
    known = states(peer("box2", URL, "a", "b"))
    known.failed("box2", "a", "unreachable", "refused", 1.0)
    known.failed("box2", "a", "silent", "it said nothing for too long", 99.0)
    assert known.statuses(99.0, 1.0)[0].circuit == "half-open"
    known.failed("box2", "a", "error", "status 500", 99.0)
    assert known.statuses(99.0, 1.0)[0].circuit == "closed"


def test_no_request_tries_whether_a_watched_machine_is_back() -> None:
    """Its list does: whoever waited for a frozen machine would wait for a minute."""
    known = states(peer("watched"), peer("written", URL, "a"))
    for name in ("watched", "written"):
        known.failed(name, "a", "unreachable", "refused", 1.0)
    watched, written = known.find("watched"), known.find("written")

    assert watched is not None
    assert written is not None
    assert (watched.is_usable("a", 99.0), written.is_usable("a", 99.0)) == (False, True)
    known.listed("watched", A, 99.5, 1000.0)
    assert watched.is_usable("a", 99.5)


def test_what_strangers_name_leaves_nothing_behind() -> None:
    known = states(peer("box2", URL, "a"))
    for n in range(1000):
        known.failed("box2", f"m{n}", "error", "status 500", 1.0)
        known.failed(f"p{n}", "a", "unreachable", "refused", 1.0)
    box = known.find("box2")

    assert box is not None
    assert len(box.of_models) == 100
    assert known.find("p1") is None


def test_another_configuration_forgets_other_machines_only() -> None:
    known = states(peer("box2"), peer("box3", "http://box3"))
    for name in ("box2", "box3"):
        known.listed(name, A, 1.0, 1000.0)
    known.follow([peer("box2"), peer("box3", "http://another")])

    assert known.told() == {"box2": ("a", "b"), "box3": ()}


def test_lists_come_back_from_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "state" / "peers.json"
    known = states(peer("box2"), peer("box3", "http://box3"))
    known.listed("box2", A, 1.0, 1000.0)
    save_lists(file, known.kept(), {"box2": URL, "box3": "http://box3"})

    assert "secret" not in file.read_text()
    found = load_lists(file, {"box2": URL, "box3": "http://box3"})
    assert found == {"box2": KeptList(models=("a", "b"), listed_at=1000.0)}
    assert load_lists(file, {"box2": "http://another"}) == {}
    again = states(peer("box2"))
    again.restore("box2", found["box2"])
    assert again.told() == {"box2": ("a", "b")}
    assert again.statuses(0.0, 0.0)[0].listed_at == 1000.0


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"peers": []}', "[" * 10_000, '{"peers": {"box2": {"of": "", "models": ["a"]}}}'],
)
def test_a_broken_file_is_no_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "peers.json"
    file.write_text(text)

    assert load_lists(file, {"box2": URL}) == {}


@pytest.mark.parametrize(
    ("there", "wait_s"),
    [
        (ThereModel(state="ready", running=3), 0.0),
        (ThereModel(state="ready", running=4), 1.25),  # a fourth of a turn: one of four ends first
        (ThereModel(state="ready", running=1, waiting=2, slots=1), 15.0),
        (ThereModel(), 0.0),
        (ThereModel(state="starting", eta_s=3.0, fraction=0.5), 3.0),
        (ThereModel(state="starting", start_s=20.0, fraction=0.75), 5.0),
        (ThereModel(state="stopped", start_s=12.0), 12.0),
        (ThereModel(state="stopped"), 30.0),
        (ThereModel(state="asleep", start_s=12.0), 3.0),
        (ThereModel(state="stopping", start_s=1.0, waiting=4), 2.25),
    ],
)
def test_how_long_a_new_request_would_wait(there: ThereModel, wait_s: float) -> None:
    assert expected_wait_s(there) == wait_s


def test_a_load_waits_for_the_others_of_its_machine() -> None:
    """Those that have told so: they share a disk, and the memory that they were given."""
    known = states(peer())
    box2 = known.find("box2")
    assert box2 is not None
    box2.follow(
        {
            "loads": ThereModel(state="starting", eta_s=20.0, start_s=60.0),
            "wanted": ThereModel(state="stopped", waiting=2, start_s=9.0),
            "runs": ThereModel(state="ready", waiting=5, start_s=9.0),
            "idle": ThereModel(state="stopped", start_s=5.0),
        }
    )
    waits = {name: expected_wait_s(there, box2.loads_s) for name, there in box2.followed.items()}

    assert waits == {"loads": 20.0, "wanted": 29.0, "runs": 2.5, "idle": 34.0}
    box2.forget_standing()
    assert box2.loads_s == 0.0
