"""How much is tried: enough to find what a change breaks, or what nobody thought of, over night."""

import gc
import os
import re
import signal
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.entropy import deterministic_PRNG
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.examples import IS_NIGHT
from tests.tables import through_all

# Examples of each property; those with a number of their own keep it. By day they are the same each
# time, so that a change is to blame for what fails; what is found by chance is found at night.
# Deadlines are for machines that have nothing else to do.
settings.register_profile("quick", max_examples=12, deadline=None, derandomize=True)
settings.register_profile(
    "nightly", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# By day nobody has to read all the code here, in each process, for numbers and words to try: it
# takes seconds, and what is tried would depend on what else has been imported. There is no setting.
if not IS_NIGHT and hasattr(providers, "_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants


# Seconds for a test with thousands of examples, on a machine with much else to do.
_LIMIT_BY_NIGHT_S = 3600


# Tests that take a minute, most of which they wait: they begin first, beside all others.
_LONG = ("/soak/test_soak.py", "/faults/test_cells.py", "/ui/test_page.py")

# Tests of these share trains, or packages, by files.
_SHARED = ("/e2e/", "/real/", "/packaging/")

# Tests of the page share a browser, so that one process runs them.
_PAGE = "tests/ui/"
IS_PAGE = bool(os.environ.get("ARRIERO_PAGE"))

# Share of the quick tests between which the files of the others come: none is left for the end.
_MIXED = 0.7

# The same for tests that are quick, but wait more than they compute.
_INTEGRATION = "/integration/"
_WAITING = 0.9

# Those of a worker for which official clients are imported.
_OFFICIAL = re.compile(
    "/worker/(integration/test_(accounts|apis|cancel|handler|heartbeats|prefill_relay)"
    "|apis/test_interrupted|test_errors).py$"
)


def pytest_configure() -> None:
    """Take back what a shell ignores for `nohup`, or in the background: all children inherit it.

    What they are told by Ctrl-C they would not hear. A hangup has to reach them alone, not this
    process, and what is caught here is not ignored there.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have supervisors keep their state here, not with those of others on this machine."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.getbasetemp() / "state")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that gives the command of a real llama-server with a tiny model."""
    from tests.real.parts import ensure_llama_server
    from tests.real.tiny_gguf import write_tiny_gguf

    binary = ensure_llama_server()
    folder = tmp_path_factory.mktemp("models")
    for size in ("tiny", "small"):
        write_tiny_gguf(folder / f"{size}.gguf", size=size)

    def command(size: str = "tiny", *options: str) -> str:
        basic = f"{binary} --port ${{PORT}} -m {folder / size}.gguf"
        return " ".join([basic, "-t 1 -c 512 --parallel 2 --no-webui", *options])

    return command


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Look for no garbage while modules and tests pile up that stay until the end."""
    gc.disable()
    try:
        _compile_share(session.config)
        return (yield)
    finally:
        # Hypothesis asks the collector who refers to its random numbers, and warns if nobody does;
        # of what is frozen Python 3.14 does not tell. It asks once.
        with deterministic_PRNG():
            gc.freeze()
        gc.enable()


def _compile_share(config: pytest.Config) -> None:
    """Import this process' share of the test modules first.

    All processes collect all modules in one order: in a fresh clone each would compile them all.
    """
    share = getattr(config, "workerinput", None)
    if share is None:
        return
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    for file in files[int(share["workerid"].removeprefix("gw")) :: share["workercount"]]:
        name = ".".join(file.relative_to(config.rootpath).with_suffix("").parts)
        with suppress(
            Exception, pytest.skip.Exception, pytest.fail.Exception
        ):  # collecting it will tell
            import_module(name)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> pytest.Item | None:
    """Make one test of a table, in a process of several; see `tests.tables`."""
    if not hasattr(collector.config, "workerinput") or not name.startswith("test_"):
        return None
    tested = through_all(obj)
    if tested is None or _is_made_ready(collector):
        return None
    return pytest.Function.from_parent(collector, name=name, callobj=tested)


def _is_made_ready(collector: pytest.Module | pytest.Class) -> bool:
    """Whether something is done before each test of a file, which each case would need as well."""
    fixtures = collector.session._fixturemanager
    names = fixtures._getautousenames(collector)
    found = [known for name in names for known in fixtures.getfixturedefs(name, collector) or ()]
    return any(known.scope == "function" or known.params for known in found)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Report what is told of a test in a process of several: how it went, and nothing else.

    Three reports and two signs for each of ten thousand tests keep two processes busy.
    """
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests first, so that nobody waits for one of them at the end.

    Files whose tests wait much come between those that only compute, or the processors would rest.
    Those marked `nightly` are left to ``make nightly``, those marked `page` to ``make test-page``:
    each has a shorter relative here.
    """
    late = [
        item
        for item in items
        if (item.get_closest_marker("nightly") and not IS_NIGHT)
        or (item.get_closest_marker("page") and not IS_PAGE)
    ]
    if late:
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in set(late)]
    for item in items if IS_NIGHT else ():
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_BY_NIGHT_S))
    groups: dict[float, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(_spread(item), []).append(item)
    places: dict[str, float] = {}
    for spread, group in groups.items():
        scopes = dict.fromkeys(scope_of(item.nodeid) for item in group)
        turns = {scope: spread * at / len(scopes) for at, scope in enumerate(scopes)}
        places |= {item.nodeid: turns[scope_of(item.nodeid)] for item in group}
    items.sort(key=lambda item: (_order(item), places[item.nodeid]))


def _spread(item: pytest.Item) -> float:
    """Return over which share of all tests its kind is spread: none that waits is the last."""
    if _is_shared(item.nodeid):
        return _MIXED
    return _WAITING if _INTEGRATION in item.nodeid else 1.0


def _order(item: pytest.Item) -> int:
    path = item.path.as_posix()
    return 0 if path.endswith(_LONG) else 1 if _OFFICIAL.search(path) else 2


def _is_shared(nodeid: str) -> bool:
    """Whether the tests of its file share what takes long to start."""
    return any(folder in nodeid.partition("::")[0] for folder in _SHARED)


def scope_of(nodeid: str) -> str:
    """Return what a test shares with all others that one process runs; see `ByTrain`."""
    path = nodeid.partition("::")[0]
    if "/test_judges" in path or path.endswith("/e2e/test_apis.py"):
        return "judges"
    if path.startswith(_PAGE):
        return "page"
    if _OFFICIAL.search(path):
        return "official clients"
    return nodeid if _INTEGRATION in path else path


class ByTrain(LoadScopeScheduling):  # type: ignore[misc]  # it is in no list of public names
    """Gives each test to whichever process is free, but those that share something to one.

    Tests that start whole trains go file by file: those of a file share trains. So do those of the
    packages, which take long to build. The judges, whose libraries take long to import, stay
    together as well, and so do those that ask official clients. Quick tests go by files too, since
    to hand out thousands one by one takes longer than many of them; not those that often wait.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Forget what is over: for each test, all that a process still has is counted."""
        super().mark_test_complete(node, item_index, duration)
        scope = self._split_scope(self.registered_collections[node][item_index])
        if all(self.assigned_work[node][scope].values()):
            del self.assigned_work[node][scope]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByTrain:
    """Return what deals out the tests when several processes run them (``-n 3``)."""
    return ByTrain(config, log)
