"""A whole arriero, as a user starts it: real supervisor, real workers, real sockets."""

import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gates import Gate
from train_starter import refuse_errors, refuse_orphans, train_starter
from trains import PATIENCE_S, Train

from tests.paths import SCRIPTED_COMMAND

if TYPE_CHECKING:
    from tests.judges.panel import Panel


@pytest.fixture(scope="session", autouse=True)
def patient_httpx() -> Generator[None]:
    """Have httpx wait as long as all do here: its five seconds are short on a busy machine.

    And have it make its context for TLS once: it makes one for each request, in 50 ms of CPU.
    Nothing here speaks TLS.
    """
    make = functools.cache(httpx.create_ssl_context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", make)
        for wait in ("connect", "read", "write", "pool"):  # of the one object that all defaults are
            patch.setattr(f"httpx._config.DEFAULT_TIMEOUT_CONFIG.{wait}", PATIENCE_S)
        yield


@pytest.fixture
def start_train(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Callable[..., Train]]:
    """A function that starts a train from a config; all trains are stopped, and leave nothing.

    A log with an error that the test does not expect (see the marker `expects_errors`) fails it.
    """
    with train_starter(tmp_path, expected_errors(request.node)) as start:
        yield start


@pytest.fixture(scope="module")
def shared_trains() -> list[Train]:
    """The trains that several tests of a file ride on."""
    return []


@pytest.fixture(scope="module")
def start_shared_train(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    shared_trains: list[Train],
) -> Generator[Callable[..., Train]]:
    """The same for a train that all tests of a file ride on."""
    folder = tmp_path_factory.mktemp("shared")
    with train_starter(folder, expected_errors(request.node), shared_trains) as start:
        yield start


@pytest.fixture(autouse=True)
def no_unexpected_errors_on_shared_trains(request: pytest.FixtureRequest) -> Generator[None]:
    """Fail the test in which they come, rather than the last one of the file."""
    yield
    if "shared_trains" in request.fixturenames:
        trains: list[Train] = request.getfixturevalue("shared_trains")
        refuse_errors(trains, expected_errors(request.node))


@pytest.fixture(scope="module")
def ridden() -> list[Train]:
    """The trains of `ride`, the last of which runs unless its test has ended it."""
    return []


@pytest.fixture(scope="module")
def environ_of_ride() -> dict[str, str]:
    """The variables that the train of `ride` is to be started with; for a file to override."""
    return {}


@pytest.fixture
def ride(
    start_shared_train: Callable[..., Train],
    ridden: list[Train],
    environ_of_ride: dict[str, str],
) -> Generator[Callable[..., Train]]:
    """A function that gives the train of this file a config: as a start, for a tenth of the time.

    Nothing runs on it then, whatever an earlier test has left; and models leave nothing behind.
    """

    def configured(config: dict[str, Any]) -> Train:
        if ridden and ridden[-1].process.poll() is None:
            ridden[-1].begin_anew(config)
        else:
            ridden.append(start_shared_train(config, environ=environ_of_ride))
        return ridden[-1]

    yield configured
    if ridden and ridden[-1].process.poll() is None:
        refuse_orphans(ridden[-1].unload_all())


def expected_errors(node: pytest.Item | pytest.Collector) -> tuple[str, ...]:
    """Return the events that a test, or all tests of a file, may find as errors in the log."""
    return tuple(event for mark in node.iter_markers("expects_errors") for event in mark.args)


@pytest.fixture(scope="session")
def scripted() -> Callable[..., str]:
    """A function that gives the command of a scripted upstream with these options."""

    def command(*options: str) -> str:
        return " ".join([*SCRIPTED_COMMAND, "--port", "${PORT}", *options])

    return command


@pytest.fixture
def train(start_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train with two workers and the scripted models `a` and `b`."""
    return start_train(two_models(scripted))


@pytest.fixture(scope="module")
def idle_train(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """The same for tests that leave no trace: all of a file share it."""
    return start_shared_train(two_models(scripted))


def two_models(scripted: Callable[..., str]) -> dict[str, Any]:
    """The configuration of these."""
    return {
        "workers": 2,
        "progress": "reasoning",
        "progressDelay": "0s",
        "models": {
            "a": {"cmd": scripted("--name", "a", "--load-s", "0.3"), "aliases": ["first"]},
            "b": {"cmd": scripted("--name", "b", "--load-s", "0.3")},
        },
    }


@pytest.fixture(scope="session")
def panel() -> Generator["Panel"]:
    """The official clients, each in a process that is started once and asked by many tests."""
    from tests.judges.panel import convened  # few tests need it, and it needs Node

    with convened() as panel:
        yield panel


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))
