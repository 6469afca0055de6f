# ruff: noqa: E501  one mistake, one line
import pytest

from arriero.supervisor.config.schema.reader import MAX_HINTS
from arriero.supervisor.placement.matrix import Matrix
from arriero.supervisor.placement.policy import Group, Groups
from tests.supervisor.config.reading import parse, problems

MODELS = "models: {a: {cmd: 'run ${PORT}', aliases: [x]}, b: {cmd: 'run ${PORT}'}, c: {cmd: 'run ${PORT}'}}\n"
GROUPS = "{g: {members: [a, b]}}"
MATRIX = "{vars: {m: c}, evict_costs: {m: 5, a: 2}, sets: {one: a & m, two: +one | b}}"


def router(use: str, **settings: str) -> str:
    written = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return f"routing: {{router: {{{use} settings: {{{written}}}}}}}\n"


# --- which one decides --------------------------------------------------------------------------


def test_groups_at_the_top_decide() -> None:
    routing = parse(MODELS + f"groups: {GROUPS}").routing
    assert (routing.router, routing.matrix) == ("group", None)
    assert routing.groups == (Group("g", ("a", "b")),)


def test_a_matrix_at_the_top_decides() -> None:
    routing = parse(MODELS + f"matrix: {MATRIX}").routing
    assert (routing.router, routing.groups) == ("matrix", ())
    assert routing.matrix is not None
    assert routing.matrix.variables == {"m": "c"}
    assert routing.matrix.evict_costs == {"m": 5, "a": 2}
    assert dict(routing.matrix.sets) == {"one": "a & m", "two": "+one | b"}


def test_without_a_word_groups_decide() -> None:
    routing = parse(MODELS).routing
    assert (routing.router, routing.groups, routing.matrix) == ("group", (), None)


@pytest.mark.parametrize("use", ["group", "matrix"])
def test_where_both_are_written_use_chooses(use: str) -> None:
    config = parse(MODELS + router(f"use: {use},", groups=GROUPS, matrix=MATRIX))
    assert config.routing.router == use
    assert config.routing.groups == (Group("g", ("a", "b")),)
    assert isinstance(config.routing.matrix, Matrix)
    assert config.warnings == ()


def test_both_places_mean_the_same() -> None:
    assert parse(MODELS + f"groups: {GROUPS}") == parse(MODELS + router("", groups=GROUPS))
    assert parse(MODELS + f"matrix: {MATRIX}") == parse(
        MODELS + router("use: matrix,", matrix=MATRIX)
    )


def test_a_matrix_that_nothing_uses_is_a_warning() -> None:
    config = parse(MODELS + router("", matrix=MATRIX))
    assert config.routing.router == "group"
    assert [str(warning) for warning in config.warnings] == [
        "c.yaml:2:32: routing.router.settings.matrix: nothing is done with it without routing.router.use: matrix"
    ]


def test_the_scheduler_may_stand_beside_groups_at_the_top() -> None:
    text = "groups: {g: {members: [a]}}\nrouting: {scheduler: {settings: {fifo: {priority: {a: 1}}}}}\n"
    routing = parse(MODELS + text).routing
    assert routing.groups == (Group("g", ("a",)),)
    assert routing.priority == {"a": 1}


@pytest.mark.parametrize("empty", ["groups:\n", "groups: {}\n", "matrix:\n"])
def test_an_empty_place_is_none(empty: str) -> None:
    assert parse(MODELS + empty + router("", groups=GROUPS)).routing.groups


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            f"groups: {GROUPS}\nmatrix: {MATRIX}\n",
            "c.yaml:3:1: matrix: there are groups, too, and only one can decide; remove one of them",
        ),
        (
            f"groups: {GROUPS}\n{router('', groups=GROUPS)}",
            "c.yaml:2:1: groups: there is routing.router, too; move this to routing.router.settings",
        ),
        (
            f"matrix: {MATRIX}\nrouting: {{router: {{use: group}}}}\n",
            "c.yaml:2:1: matrix: there is routing.router, too; move this to routing.router.settings",
        ),
        (
            "routing: {router: {use: matrix}}\n",
            "c.yaml:2:25: routing.router.use: there is no matrix; write routing.router.settings.matrix, or use: group",
        ),
        (
            "routing: {router: {use: matrix, settings: {matrix: }}}\n",
            "c.yaml:2:25: routing.router.use: there is no matrix; write routing.router.settings.matrix, or use: group",
        ),
        (
            f"matrix: {MATRIX}\nrouting: {{router: {{use: matrix}}}}\n",
            "c.yaml:2:1: matrix: there is routing.router, too; move this to routing.router.settings",
        ),
        (
            "routing: {router: {use: gruop}}\n",
            "c.yaml:2:25: routing.router.use: found the text 'gruop'; write one of group, matrix (did you mean 'group'?)",
        ),
        (
            "routing: {scheduler: {use: lifo}}\n",
            "c.yaml:2:28: routing.scheduler.use: found the text 'lifo'; write one of fifo (did you mean 'fifo'?)",
        ),
    ],
)
def test_what_cannot_be_chosen_is_told_with_its_place(text: str, told: str) -> None:
    assert problems(MODELS + text) == [told]


# --- groups -------------------------------------------------------------------------------------


def test_a_group_swaps_and_is_exclusive_unless_it_says_otherwise() -> None:
    text = "groups: {g: {members: [a]}, h: {members: [b], swap: false, exclusive: no, persistent: true}}"
    assert parse(MODELS + text).routing.groups == (
        Group("g", ("a",), swap=True, exclusive=True, persistent=False),
        Group("h", ("b",), swap=False, exclusive=False, persistent=True),
    )


def test_models_in_no_group_run_one_at_a_time() -> None:
    config = parse(MODELS + "groups: {g: {members: [a], exclusive: false}}")
    room = Groups(config.routing.groups, config.models)
    assert room.evicted_by("b", ["c"]) == {"c"}
    assert room.evicted_by("a", ["c"]) == set()


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (
            "{g: {members: [a, a]}}",
            "c.yaml:2:27: groups.g.members: 'a' is in the group 'g' already",
        ),
        (
            "{g: {members: [a]}, h: {members: [b, a]}}",
            "c.yaml:2:46: groups.h.members: 'a' is in the group 'g' already",
        ),
        (
            "{g: {members: [A]}}",
            "c.yaml:2:24: groups.g.members: there is no model 'A'; did you mean 'a'?",
        ),
        (
            "{g: {members: [x]}}",
            "c.yaml:2:24: groups.g.members: 'x' is an alias; write the model's id, 'a'",
        ),
    ],
)
def test_a_member_is_the_id_of_a_model_and_in_one_group(groups: str, told: str) -> None:
    assert problems(MODELS + f"groups: {groups}") == [told]


def test_a_group_with_the_name_of_all_others_is_a_warning() -> None:
    config = parse(MODELS + "groups: {(default): {members: [a], swap: false}}")
    assert [str(warning) for warning in config.warnings] == [
        "c.yaml:2:21: groups.(default): this stands for the models that are in no group; nothing else is done with it"
    ]


def test_similar_names_are_looked_for_only_so_often() -> None:
    members = ", ".join(f"model{number}" for number in range(MAX_HINTS + 10))
    told = problems(
        f"models: {{model: {{cmd: 'run ${{PORT}}'}}}}\ngroups: {{g: {{members: [{members}]}}}}"
    )
    assert len(told) == MAX_HINTS + 10
    assert sum("did you mean 'model'?" in text for text in told) == MAX_HINTS


# --- the matrix, in a file ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matrix", "places"),
    [
        ("{vars: {m: nope}, sets: {s: a}}", ["2:20: matrix.vars.m: there is no model 'nope'"]),
        ("{vars: {a_b: a}, sets: {s: a}}", ["2:22: matrix.vars.a_b: 'a_b' cannot be used"]),
        ("{evict_costs: {q: 2}, sets: {s: a}}", ["2:27: matrix.evict_costs.q: there is no model"]),
        (
            "{evict_costs: {a: 0, b: -1}, sets: {s: a}}",
            ["2:27: matrix.evict_costs.a: found the number 0;", "2:33: matrix.evict_costs.b: found the number -1;"],
        ),
        ("{sets: {s: a & q}}", ["2:20: matrix.sets.s: column 5 of the expression: there is no model"]),
        ("{sets: {s: +t}}", ["2:20: matrix.sets.s: column 1 of the expression: there is no set 't'"]),
        ("{sets: {s: +t, t: +s}}", ["2:27: matrix.sets.t: column 1 of the expression: +s leads back here"]),
        ("{sets: {s: a &}}", ["2:20: matrix.sets.s: column 4 of the expression: "]),
        ("{sets: {s: ''}}", ["2:20: matrix.sets.s: column 1 of the expression: "]),
        ("{sets: {}}", ["2:16: matrix.sets: there are no sets"]),
        ("{vars: {m: a}}", ["2:9: matrix.sets: there are no sets"]),
        ("{}", ["2:9: matrix.sets: there are no sets"]),
    ],
)  # fmt: skip
def test_a_mistake_in_the_matrix_is_told_with_its_place(matrix: str, places: list[str]) -> None:
    told = problems(MODELS + f"matrix: {matrix}")
    assert len(told) == len(places)
    for text, place in zip(told, places, strict=True):
        assert text.startswith(f"c.yaml:{place}")


def test_all_mistakes_of_a_matrix_are_told_at_once() -> None:
    told = problems(MODELS + "matrix:\n  vars: {m: q}\n  evict_costs: {z: 1}\n  sets: {s: w}\n")
    assert [text.split(": ")[:2] for text in told] == [
        ["c.yaml:3:13", "matrix.vars.m"],
        ["c.yaml:4:20", "matrix.evict_costs.z"],
        ["c.yaml:5:13", "matrix.sets.s"],
    ]


def test_a_mistake_in_the_newer_place_of_the_matrix_has_the_newer_path() -> None:
    told = problems(MODELS + router("use: matrix,", matrix="{sets: {s: q}}"))
    assert told[0].startswith("c.yaml:2:63: routing.router.settings.matrix.sets.s: ")


def test_what_could_not_be_read_of_a_matrix_is_not_told_a_second_time() -> None:
    assert len(problems(MODELS + "matrix: {vars: {m: [a]}, sets: {s: m}}")) == 1
    assert len(problems(MODELS + "matrix: {sets: {s: [a], t: +s}}")) == 1


# --- priorities ---------------------------------------------------------------------------------


def priorities(written: str) -> str:
    return (
        MODELS
        + f"routing: {{scheduler: {{use: fifo, settings: {{fifo: {{priority: {written}}}}}}}}}"
    )


def test_priorities_are_read_and_an_alias_stands_for_its_model() -> None:
    assert parse(priorities("{b: -3, x: 7}")).routing.priority == {"b": -3, "a": 7}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{bb: 1}", "priority.bb: there is no model 'bb'; did you mean 'b'?"),
        ("{a: 1, x: 2}", "priority.x: 'a' has a priority already, under another name"),
        ("{a: high}", "priority.a: found the text 'high'; write a whole number from "),
    ],
)
def test_a_priority_is_a_number_for_a_model(written: str, told: str) -> None:
    (text,) = problems(priorities(written))
    assert f": routing.scheduler.settings.fifo.{told}" in text
