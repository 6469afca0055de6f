"""Machines with the same model: which is asked, what is counted, and what is said of them."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.protocol.values import State
from arriero.supervisor.config.names import PeerConfig, PeerModels, WakeOnLan
from arriero.supervisor.peers.places import Places
from arriero.supervisor.peers.state import PeerStates
from arriero.supervisor.peers.told import ThereModel, ToldList
from arriero.supervisor.scheduling.view import ModelDemand


def demand(state: State, running: int = 0, start_s: float | None = None) -> ModelDemand:
    return ModelDemand(state, running, 0, 0, None, None, start_s)


@dataclass
class Scene:
    """Three machines: this one, one whose list is its own, one with names that are written."""

    here: dict[str, ModelDemand] = field(default_factory=lambda: {"m": demand("stopped")})
    wakes: bool = False
    now: float = 0.0

    def __post_init__(self) -> None:
        wake = WakeOnLan(mac="00:11:22:33:44:55") if self.wakes else WakeOnLan()
        peers = (
            PeerConfig(peer="a", url="http://a", written_models="auto"),
            PeerConfig(peer="b", url="http://b", written_models=("m", "p"), wake=wake),
            PeerConfig(peer="c", url="http://c", written_models=("p", "q")),
        )
        self.peers = PeerStates(chance=lambda: 0.0)
        self.peers.follow(peers)
        self.told("a", m=ThereModel(state="ready"), p=ThereModel(state="stopped"))
        self.names = PeerModels(peers, self.here, self.peers.told(), own=self.here)
        self.places = Places(lambda: self.names, self.here.get, self.peers, lambda: self.now)

    def told(self, peer: str, **models: ThereModel) -> None:
        self.peers.listed(peer, ToldList(models=models), self.now, 0.0)

    def select(self, name: str, ask: int = 1, tried: tuple[str, ...] = (), prefix: str = "") -> str:
        return self.places.select("w", ask, name, prefix=prefix, tried=tried)


def test_who_shares_a_name() -> None:
    names = Scene().names
    # 'b' has written 'm' by hand: that may be another model than the one here
    assert dict(names.places) == {"m": ("m", "a/m"), "p": ("b/p", "c/p", "a/p")}
    assert names.resolve("p") == names.resolve("b/p")
    assert names.resolve("m") is None
    assert names.resolve("q") == names.resolve("c/q")


def test_all_send_a_prompt_to_one_machine_whatever_they_call_it() -> None:
    """Two doors with names of their own for the machines, and one of these machines itself."""

    def homes(names: dict[str, str], here: str = "") -> list[str]:
        """Where prompts go: numbers of machines, by what one of them is called there."""
        peers = [PeerConfig(peer=it, url=f"http://{it}", written_models="auto") for it in names]
        ready = ThereModel(state="ready", slots=4)
        local = {"m": demand("ready")} if here else {}
        states = PeerStates(chance=lambda: 0.0)
        states.follow(peers)
        for peer, instance in names.items():
            states.listed(peer, ToldList(models={"m": ready}), 0.0, 0.0)
            state = states.find(peer)
            assert state is not None
            state.follow({"m": ready}, instance)
        known = PeerModels(peers, local, states.told(), own=local)
        places = Places(lambda: known, local.get, states, lambda: 0.0, here)
        found = [places.rank("m", f"prompt {n}").targets[0] for n in range(200)]
        return [here if it == "m" else names[it.partition("/")[0]] for it in found]

    one = homes({"box2": "i2", "box3": "i3", "box4": "i4"})
    assert homes({"z": "i3", "y": "i2", "x": "i4"}) == one
    assert homes({"two": "i2", "four": "i4"}, here="i3") == one
    assert {one.count(it) > 30 for it in ("i2", "i3", "i4")} == {True}
    assert homes({"box2": "", "box3": "i3", "box4": "i4"}) != one  # it is known by its URL


def test_warm_goes_first_and_a_failure_to_the_next() -> None:
    scene = Scene()
    assert scene.select("m") == "a/m"
    assert scene.select("m", tried=("a/m",)) == "m"
    assert scene.select("m", tried=("a/m", "m")) == ""
    scene.here["m"] = demand("ready")
    scene.told("a", m=ThereModel(state="stopped"))
    assert scene.select("m") == "m"


def test_who_cannot_be_reached_is_not_asked_until_a_trial() -> None:
    scene = Scene()
    scene.peers.failed("a", "m", "unreachable", "no route", 0.0)
    assert scene.select("m", 1) == "m"
    standings, why = scene.places.explain("m")
    assert [(one.target, one.usable, one.why) for one in standings] == [
        ("m", True, ""),
        ("a/m", False, "no route"),
    ]
    assert why == "this machine is the only one that is left"
    for peer in "bc":
        scene.peers.failed(peer, "p", "unreachable", "gone", 0.0)
    scene.now = 2.0
    assert {scene.select("p", 3), scene.select("p", 4)} == {"b/p", "c/p"}  # they try
    assert scene.places.rank("p").targets == ()  # and no other ones do meanwhile
    assert scene.select("m", 6) == "m"  # of a watched one no request has to
    scene.told("a", m=ThereModel(state="ready"))
    assert scene.select("m", 7) == "a/m"


def test_if_none_can_be_reached_one_is_woken_or_says_why() -> None:
    scene = Scene(wakes=True)
    for peer in "abc":
        scene.peers.failed(peer, "p", "unreachable", "gone", 0.0)
    assert scene.select("p") == "b/p"
    assert scene.select("p", tried=("a/p", "b/p", "c/p")) == "b/p"  # that one can be woken
    scene = Scene()
    for peer in "abc":
        scene.peers.failed(peer, "p", "unreachable", "gone", 0.0)
    assert scene.select("p") == "b/p"
    assert scene.select("p", tried=("b/p",)) == ""


def test_what_we_have_sent_counts_before_it_is_told() -> None:
    scene = Scene()
    scene.here["m"] = demand("ready")
    chosen = [scene.select("m", ask) for ask in range(20)]
    assert set(chosen) == {"m", "a/m"}
    assert abs(chosen.count("m") - chosen.count("a/m")) <= 1
    standings, _ = scene.places.explain("m")
    assert sum(one.running for one in standings) == 20


def test_a_prompt_sticks_and_spills_when_its_machine_is_full() -> None:
    scene = Scene()
    scene.here["m"] = demand("ready")
    homes = set()
    for number in range(20):
        prefix = f"{number:016x}"
        home = scene.select("m", 1, prefix=prefix)
        homes.add(home)
        for _ in range(3):
            scene.places.end("w", 1)
            assert scene.select("m", 1, prefix=prefix) == home
        scene.places.end("w", 1)
    assert homes == {"m", "a/m"}
    chosen = [scene.select("m", ask, prefix="0" * 16) for ask in range(40)]
    assert set(chosen) == {"m", "a/m"}


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["select", "select", "end", "lost", "hold"]),
        st.sampled_from(["w1", "w2"]),
        st.integers(1, 6),
        st.sampled_from(["m", "p", "q", "nothing"]),
        st.sets(st.sampled_from(["m", "a/m", "a/p", "b/p", "c/p"])),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(OPERATIONS, st.booleans())
def test_tried_ones_are_not_chosen_again_and_counts_end_at_zero(
    operations: list[tuple[str, str, int, str, set[str]]], wakes: bool
) -> None:
    scene = Scene(wakes=wakes)
    places = scene.places
    running: dict[tuple[str, int], str] = {}
    for what, owner, ask, name, tried in operations:
        if what == "select":
            chosen = places.select(owner, ask, name, tried=tried)
            targets = set(scene.names.places.get(name, (name,)))
            assert chosen in targets | {""}
            if targets - tried and name in scene.names.places:
                assert chosen not in tried | {""}
            if chosen:
                running[owner, ask] = chosen
        elif what == "end":
            places.end(owner, ask)
            running.pop((owner, ask), None)
        elif what == "hold":
            places.hold(owner, ask, "a/m")
            running[owner, ask] = "a/m"
        else:
            places.lost(owner)
            running = {key: it for key, it in running.items() if key[0] != owner}
        found = list(running.values())
        assert places.counts() == {target: found.count(target) for target in found}
    places.lost("w1")
    places.lost("w2")
    assert places.counts() == {}


def test_no_more_are_counted_than_may_be() -> None:
    scene = Scene()
    places = Places(lambda: scene.names, scene.here.get, scene.peers, lambda: 0.0, most=3)
    for ask in range(5):
        assert places.select("w", ask, "m")
    assert sum(places.counts().values()) == 3
