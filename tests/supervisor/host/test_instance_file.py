"""The number of an arriero: it keeps it, and makes another one of what is none."""

from pathlib import Path

from arriero.supervisor.host.instance_file import instance_of


def test_a_number_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "instance"
    number = instance_of(path)
    assert len(number) == 16
    assert instance_of(path) == number
    path.write_text("nonsense")
    again = instance_of(path)
    assert again not in {"nonsense", number}
    assert instance_of(path) == again
    assert len(instance_of(tmp_path / "nowhere" / "instance")) == 16
