"""Modules that are loaded when somebody uses them."""

import sys
import threading
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path

import pytest

from arriero.late_modules import let_wait

Writer = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Writer, None, None]:
    """Write a module `name` that can be imported, and let it wait."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def is_loaded(name: str) -> bool:
    return "LOADED" in vars(sys.modules[name])


def test_it_is_loaded_by_the_first_use_and_then_like_any_other(write: Writer) -> None:
    write("late_plain.py", "LOADED = 1\nthing = object()")
    let_wait(["late_plain"])

    module = import_module("late_plain")
    assert not is_loaded("late_plain")
    assert module.thing is module.thing
    assert is_loaded("late_plain")
    assert not hasattr(module, "__getattr__")
    with pytest.raises(AttributeError, match="'late_plain' has no attribute 'other'"):
        _ = module.other


def test_one_that_is_loaded_already_and_one_that_is_not_there_are_left_alone() -> None:
    let_wait(["sys", "late_nobody"])

    assert "late_nobody" not in sys.modules
    assert sys.modules["sys"] is sys


def test_who_imports_a_part_of_a_package_has_the_package_first(write: Writer) -> None:
    write("late_package/__init__.py", "from .part import thing\nLOADED = 1")
    write("late_package/part.py", "from late_package import other\nthing = other.thing")
    write("late_package/other.py", "thing = object()")
    let_wait(["late_package"])

    part = import_module("late_package.part")

    assert is_loaded("late_package")
    assert part.thing is import_module("late_package").thing


def test_a_module_may_have_names_that_it_makes_when_asked(write: Writer) -> None:
    write("late_maker.py", "LOADED = 1\ndef __getattr__(name): return name * 2")
    let_wait(["late_maker"])

    assert import_module("late_maker").ab == "abab"
    assert import_module("late_maker").cd == "cdcd"


def test_one_that_fails_is_tried_again(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    write("late_failing.py", "import sys\nsys.late_door\nLOADED = 1\nthing = 7")
    let_wait(["late_failing"])
    module = import_module("late_failing")

    with pytest.raises(AttributeError, match="late_door"):
        _ = module.thing
    monkeypatch.setattr(sys, "late_door", True, raising=False)

    assert module.thing == 7


def test_other_threads_wait_until_it_is_whole(write: Writer) -> None:
    write(
        "late_slow.py",
        "import sys\nLOADED = 1\nsys.late_begun.set()\nsys.late_go_on.wait()\nthing = 7",
    )
    let_wait(["late_slow"])
    module = import_module("late_slow")
    begun, go_on = threading.Event(), threading.Event()
    vars(sys).update(late_begun=begun, late_go_on=go_on)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(module.thing)) for _ in range(4)]
    try:
        threads[0].start()
        assert begun.wait(10)
        for thread in threads[1:]:
            thread.start()
        assert found == []
    finally:
        go_on.set()
    for thread in threads:
        thread.join(10)
    del vars(sys)["late_begun"], vars(sys)["late_go_on"]

    assert found == [7] * 4
