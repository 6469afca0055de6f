"""What a run writes into docs/performance.md and the README: tables in Markdown, and a picture."""

from tests.paths import ROOT

from ..errors import BenchError
from ..results import Results
from ..rows import NGINX, ROWS, SWAP, USUAL, Row
from .plot import svg
from .tables import figure

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"
README = ROOT / "README.md"

# Rows of the README, which has the most telling ones.
_SHORT = ("requests", "cpu-request", "p50", "streams", "cpu-stream", "cpu-chunk", "memory", "start")

BEGIN = "<!-- measured: written by `make bench ARGS=--docs` -->\n"
END = "<!-- measured: end -->\n"


def write(results: Results, machine: dict[str, object]) -> None:
    """Put the results of a run into both, and draw the picture.

    Raises:
        BenchError: One of them has no place for them.
    """
    for path, measured in ((PAGE, markdown(results, machine)), (README, short_table(results))):
        path.write_text(put_in(path.read_text(), measured, path.name))
    PICTURE.write_text(svg(results))


def put_in(page: str, measured: str, name: str) -> str:
    """Return the page `name` with `measured` in the place of what was measured before.

    Raises:
        BenchError: It has no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"cannot write {name}: no {BEGIN.strip()} ... {END.strip()}")
    return f"{before}{BEGIN}{measured}{END}{after}"


def short_table(results: Results) -> str:
    """Return the table of the README: nginx and arriero, with two workers each."""
    lines = [["", "nginx, 2 workers", "arriero, 2 workers", "ratio"], ["---", *["---:"] * 3]]
    for row in (ROWS[name] for name in _SHORT):
        ours = results.median(USUAL, row.name)
        if ours is not None:
            theirs, ratio = results.median(NGINX, row.name), results.ratio(row.name, USUAL, NGINX)
            figures = [figure(theirs, row.digits), figure(ours, row.digits), figure(ratio, 2)]
            lines.append([f"{row.title}, {row.unit}".removesuffix(", "), *figures])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"\n{table}\n"


def markdown(results: Results, machine: dict[str, object]) -> str:
    """Return the table of medians, with what was asked, and the remarks."""
    head = ["", *results.targets, "of nginx", "of llama-swap", "asked", ""]
    lines = [head, ["---", *["---:"] * (len(head) - 3), "---", "---"]]
    for row in ROWS.values():
        figures = [results.median(target, row.name) for target in results.targets]
        if any(value is not None for value in figures):
            lines.append(
                [
                    f"{row.title}, {row.unit}".removesuffix(", "),
                    *(figure(value, row.digits) for value in figures),
                    *(figure(_ratio(results, row, to), 2) for to in (NGINX, SWAP)),
                    "<br>".join(asked.words(row.unit) for asked in row.asked),
                    "<br>".join(_verdicts(results, row)),
                ]
            )
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    remarks = "".join(f"- {remark}\n" for remark in results.remarks)
    picture = f"![A small chart of bars for each row of the table]({PICTURE.name})"
    return f"\n{picture}\n\n{table}\n{where}\n\n{remarks}{chr(10) if remarks else ''}"


def _ratio(results: Results, row: Row, to: str) -> float | None:
    return results.ratio(row.name, "arriero x2", to)


def _verdicts(results: Results, row: Row) -> list[str]:
    words = {None: "not measured", True: "met", False: "missed"}
    return [words[results.verdict(row, asked)[1]] for asked in row.asked]
