"""What one connection raises ends at its edge, and is told once."""

import logging

import pytest
import trio

from arriero.protocol.flood_log import FloodLog
from arriero.worker.server import containment as edge


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "FLOOD_LOG", FloodLog(logging.getLogger("edge")))


async def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        KeyError("100 %s"),
        ExceptionGroup("", [KeyError(1)]),
        ExceptionGroup("", [ExceptionGroup("", [KeyError(1)]), KeyError(2)]),
    ],
)
async def test_a_failure_is_logged_with_its_place_and_ends_there(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        await edge.contain(fail(error))

    (first, *more) = caplog.records
    assert first.getMessage().startswith("connection.failed error=KeyError at=")
    assert first.exc_info is not None
    assert len(more) <= 1  # one that was raised elsewhere, in a group of two


async def test_what_fails_elsewhere_or_otherwise_is_told_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_here() -> None:
        raise KeyError

    for failing in (fail(KeyError()), fail(ValueError()), fail_here()):
        await edge.contain(failing)

    assert len(caplog.records) == 3


async def test_being_cancelled_passes(caplog: pytest.LogCaptureFixture) -> None:
    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError

    with trio.CancelScope() as scope:
        scope.cancel()
        await edge.contain(both())
        raise AssertionError("it went on")

    assert scope.cancelled_caught
    assert len(caplog.records) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_what_is_to_end_the_program_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        await edge.contain(fail(error))
