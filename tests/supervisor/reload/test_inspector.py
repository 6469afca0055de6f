"""What is told of the files: their text, what is wrong, what a reload would change; no secret."""

from pathlib import Path

import pytest
import trio

from arriero.protocol.control.settings import ConfigReply
from arriero.supervisor.lifetime.order import Order
from arriero.supervisor.reload.inspector import ConfigInspector
from arriero.supervisor.reload.reloader import ActiveConfig
from arriero.supervisor.workers.key_limits import KeyUse

GOOD = """\
apiKeys: [s3cr-plain]
clientKeys:
  guest: {hash: "sha256:HASH", dailyTokens: 100}
models:
  a:
    cmd: /bin/true --port ${PORT} --api-key s3cr-in-force
""".replace("HASH", "5" * 64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def inspector(file: Path) -> ConfigInspector:
    order = Order(files=(file,))
    used = {"guest": KeyUse(tokens=70, requests=2)}
    return ConfigInspector(
        ActiveConfig(order.load()), order.sources, order.load_with_tree, lambda: used
    )


async def look(inspector: ConfigInspector) -> ConfigReply:
    told = await inspector.look()
    assert isinstance(told, ConfigReply)
    assert "s3cr" not in str(told)
    assert "5" * 8 not in str(told)
    return told


async def test_files_are_told_with_what_would_change(
    inspector: ConfigInspector, file: Path
) -> None:
    same = await look(inspector)
    text = GOOD.replace("  a:", "  b:") + "    description: was s3cr-plain\n"
    await trio.Path(file).write_text(text)
    other = await look(inspector)

    assert same.changes is not None
    assert same.changes.is_empty
    assert [(one.name, one.text.count("\n")) for one in same.files] == [(str(file), 6)]
    assert [(key.name, key.tokens, key.daily_tokens) for key in same.keys] == [("guest", 70, 100)]
    assert same.plain_keys == 1
    assert other.changes is not None
    assert (other.changes.added, other.changes.removed) == (("b",), ("a",))


async def test_mistakes_are_told_by_their_places(inspector: ConfigInspector, file: Path) -> None:
    wrong = "    ttl: soon\n    proxy: 'ftp://x/?token=s3cr-new'\n    description: s3cr-in-force\n"
    await trio.Path(file).write_text(GOOD + wrong)
    told = await look(inspector)

    assert told.changes is None
    assert {(one.kind, one.line, one.path) for one in told.remarks} >= {
        ("error", 7, "models.a.ttl"),
        ("error", 8, "models.a.proxy"),
    }
    assert "    ttl: soon\n" in told.files[0].text


async def test_what_is_not_there_is_told(inspector: ConfigInspector, file: Path) -> None:
    await trio.Path(file).unlink()
    told = await look(inspector)

    assert (told.changes, told.files[0].text) == (None, "")
    assert [one.kind for one in told.remarks] == ["error"]


async def test_long_files_are_cut(
    inspector: ConfigInspector, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arriero.supervisor.reload.inspector.MAX_SHOWN", 100)
    told = await look(inspector)

    assert (told.files[0].is_cut, len(told.files[0].text)) == (True, 100)
