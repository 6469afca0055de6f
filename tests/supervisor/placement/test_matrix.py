import itertools
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.supervisor.placement.matrix import (
    Choice,
    Matrix,
    MatrixError,
    MatrixProblem,
    compile_matrix,
)
from arriero.supervisor.placement.matrix_parser import (
    Either,
    Name,
    SetName,
    Together,
    Tree,
    read_expression,
)
from arriero.supervisor.placement.matrix_solver import MAX_WORK, _Search

MODELS = "abcdef"


def matrix(
    sets: Mapping[str, str],
    *,
    variables: Mapping[str, str] | None = None,
    costs: Mapping[str, int] | None = None,
    models: Iterable[str] = MODELS,
) -> Matrix:
    return compile_matrix(variables or {}, costs or {}, sets, tuple(models))


def problems(
    sets: Mapping[str, str],
    *,
    variables: Mapping[str, str] | None = None,
    costs: Mapping[str, int] | None = None,
    models: Iterable[str] = MODELS,
) -> tuple[MatrixProblem, ...]:
    with pytest.raises(MatrixError) as caught:
        matrix(sets, variables=variables, costs=costs, models=models)
    return caught.value.problems


# --- the choice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "target", "running", "choice"),
    [
        pytest.param({"x": "a & b"}, "a", "b", Choice("x", frozenset(), 0), id="together"),
        pytest.param({"x": "a | b"}, "a", "b", Choice("x", frozenset("b"), 1), id="either"),
        pytest.param(
            {"x": "(a | b) & (c | d)"}, "a", "bcd", Choice("x", frozenset("bd"), 2), id="product"
        ),
        pytest.param({"x": "a | b & c"}, "a", "c", Choice("x", frozenset("c"), 1), id="precedence"),
        pytest.param({"x": "a & a & b"}, "a", "b", Choice("x", frozenset(), 0), id="repeated"),
        pytest.param({"x": "a & b"}, "b", "bcd", Choice(None, frozenset(), 0), id="it runs"),
        pytest.param({"x": "a & b"}, "f", "ab", Choice(None, frozenset("ab"), 2), id="in no set"),
        pytest.param({"x": "a"}, "a", "", Choice("x", frozenset(), 0), id="nothing runs"),
        pytest.param({"x": "a & b"}, "a", "bz", Choice("x", frozenset("z"), 1), id="unknown runs"),
        pytest.param(
            {"x": "a & b", "y": "a & c"}, "a", "bc", Choice("x", frozenset("c"), 1), id="tie: order"
        ),
        pytest.param(
            {"y": "a & c", "x": "a & b"}, "a", "bc", Choice("y", frozenset("b"), 1), id="tie: other"
        ),
        pytest.param(
            {"x": "a & (c | b)"}, "a", "bc", Choice("x", frozenset("b"), 1), id="tie: from left"
        ),
        pytest.param(
            {"x": "a & +y", "z": "a & c", "y": "b"},
            "a",
            "bc",
            Choice("x", frozenset("c"), 1),
            id="tie: y comes just before x, and z after it",
        ),
        pytest.param(
            {"z": "a & +late", "late": "a & b | a & c"},
            "a",
            "bc",
            Choice("late", frozenset("c"), 1),
            id="tie: what is referred to is earlier",
        ),
        pytest.param(
            {"x": "a & (b | c)", "y": "+x & d", "z": "+y & e"},
            "a",
            "bde",
            Choice("z", frozenset(), 0),
            id="a chain of references",
        ),
        pytest.param(
            {"x": "a & b", "y": "+x & (b | c)"},
            "c",
            "ab",
            Choice("y", frozenset(), 0),
            id="named twice, counts once",
        ),
        pytest.param({"x": "a", "y": "+x"}, "a", "", Choice("x", frozenset(), 0), id="a mere name"),
        pytest.param(
            {"x": "a | a & b"}, "a", "b", Choice("x", frozenset(), 0), id="the larger is preferred"
        ),
        pytest.param(
            {"x": "(a | a & b) & (c | d)"},
            "a",
            "bd",
            Choice("x", frozenset(), 0),
            id="the larger is preferred within a product",
        ),
    ],
)
def test_the_set_that_spares_most_is_chosen(
    sets: dict[str, str], target: str, running: str, choice: Choice
) -> None:
    assert matrix(sets).choose(target, running) == choice
    assert matrix(sets).evicted_by(target, running) == choice.stops


@pytest.mark.parametrize(
    ("costs", "stops"), [({}, "c"), ({"c": 2}, "b"), ({"b": 2, "c": 2}, "c"), ({"see": 3}, "b")]
)
def test_what_is_dear_stays_by_id_or_short_name(costs: dict[str, int], stops: str) -> None:
    policy = matrix({"x": "a & b", "y": "a & see"}, variables={"see": "c"}, costs=costs)

    assert policy.choose("a", "bc").stops == frozenset(stops)


def test_a_heavier_set_is_not_as_early_as_the_lighter_one_that_it_stands_for() -> None:
    """`b` spares more than `a`, but `c & d` comes before `b & d`, and spares as much."""
    policy = matrix({"x": "f & (a | c | b) & (d | c)"}, costs={"b": 3, "c": 3, "d": 3})

    assert policy.choose("f", "abcd").stops == {"a", "b"}


@pytest.mark.parametrize(("part", "stops"), [("e | b", "d"), ("b | e", "c")])
def test_a_part_that_holds_nothing_that_runs_has_its_place_as_well(part: str, stops: str) -> None:
    """`e` comes with `b & c` before `b` comes with `d`, or the other way round."""
    assert matrix({"x": f"f & ({part}) & (d | b & c)"}).evicted_by("f", "bcd") == frozenset(stops)


def test_the_cost_is_that_of_what_is_stopped() -> None:
    policy = matrix({"x": "a & (b | c | d)"}, costs={"b": 7, "c": 20, "d": 7})

    assert policy.choose("a", "bcd") == Choice("x", frozenset("bd"), 14)
    assert policy.choose("f", "bc") == Choice(None, frozenset("bc"), 27)


def test_a_short_name_wins_over_a_model_of_that_name() -> None:
    policy = matrix({"x": "a & org-b"}, variables={"a": "c", "org-b": "b"})

    assert policy.choose("c", "ab").stops == {"a"}


def test_models_can_run_together_if_some_one_set_holds_them_all() -> None:
    policy = matrix({"x": "a & (b | c)", "y": "b & c & d"})

    assert [
        pair
        for pair in map("".join, itertools.combinations("abcde", 2))
        if policy.can_run_together(pair)
    ] == ["ab", "ac", "bc", "bd", "cd"]
    assert policy.can_run_together("bcd")
    assert not policy.can_run_together("abc")
    assert policy.can_run_together("e")
    assert policy.can_run_together("")
    assert not policy.can_run_together("az")


def test_any_two_of_three_may_run_together_and_yet_not_all_three() -> None:
    policy = matrix({"x": "a & b", "y": "b & c", "z": "a & c"})

    assert not any(
        policy.evicted_by(one, [other]) for one, other in itertools.permutations("abc", 2)
    )
    assert policy.evicted_by("a", "bc") == {"c"}


# --- against all sets, multiplied out -------------------------------------------------------------

NAMES = ("s", "t", "u", "v")


def multiplied_out(
    tree: Tree, sets: Mapping[str, Sequence[frozenset[str]]]
) -> list[frozenset[str]]:
    match tree:
        case Name(text):
            return [frozenset({text})]
        case SetName(text):
            return list(sets[text])
        case Either(parts):
            return [one for part in parts for one in multiplied_out(part, sets)]
        case Together(parts):
            each = [multiplied_out(part, sets) for part in parts]
            return [frozenset().union(*ones) for ones in itertools.product(*each)]


def all_sets(expressions: Mapping[str, str]) -> dict[str, list[frozenset[str]]]:
    """All sets of each expression, in the order of choice."""
    trees = {name: read_expression(text) for name, text in expressions.items()}
    found: dict[str, list[frozenset[str]]] = {}

    def visit(name: str) -> None:
        if name not in found:
            for token in trees[name].names:
                if token.kind == "set":
                    visit(token.text)
            tree = trees[name].tree
            assert tree is not None
            found[name] = multiplied_out(tree, found)

    for name in trees:
        visit(name)
    return found


def chosen_by_hand(
    expressions: Mapping[str, str], costs: Mapping[str, int], target: str, running: frozenset[str]
) -> Choice:
    def cost(models: Iterable[str]) -> int:
        return sum(costs.get(model, 1) for model in models)

    if target in running:
        return Choice(None, frozenset(), 0)
    choices = [
        Choice(name, running - one, cost(running - one))
        for name, ones in all_sets(expressions).items()
        for one in ones
        if target in one
    ]
    alone = Choice(None, running, cost(running))
    return min(choices, key=lambda choice: choice.cost, default=alone)


def joined(sign: str, parts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    return st.lists(parts, min_size=1, max_size=most).map(
        lambda drawn: drawn[0] if len(drawn) == 1 else f"({sign.join(drawn)})"
    )


@st.composite
def expressions(draw: st.DrawFn) -> dict[str, str]:
    """Up to four sets that refer to each other, in whatever order, without a circle.

    They are products of alternatives of products, with few names: what is shared by the parts of a
    product is what is hard.
    """
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 4))]
    texts: dict[str, str] = {}
    for name in names:
        leaves = st.sampled_from([*MODELS, *(f"+{other}" for other in texts)])
        texts[name] = draw(joined(" & ", joined(" | ", joined(" & ", leaves, 2), 3), 4))
    return {name: texts[name] for name in draw(st.permutations(names))}


SMALL = 1000


def few(texts: Mapping[str, str]) -> bool:
    """Whether the sets can be multiplied out in a moment."""
    sizes: dict[str, int] = {}

    def size(tree: Tree) -> int:
        match tree:
            case Name():
                return 1
            case SetName(text):
                return of(text)
            case Either(parts):
                return sum(map(size, parts))
            case Together(parts):
                product = 1
                for part in parts:
                    product *= size(part)
                return product

    def of(name: str) -> int:
        if name not in sizes:
            tree = read_expression(texts[name]).tree
            assert tree is not None
            sizes[name] = size(tree)
        return sizes[name]

    return sum(map(of, texts)) <= SMALL


@settings(deadline=None)
@given(
    expressions().filter(few),
    st.fixed_dictionaries({model: st.integers(1, 3) for model in MODELS}),
    st.sampled_from(MODELS),
    st.frozensets(st.sampled_from(MODELS)).map(frozenset(MODELS).difference),
)
def test_the_choice_is_that_of_all_sets_multiplied_out(
    texts: dict[str, str], costs: dict[str, int], target: str, running: frozenset[str]
) -> None:
    policy = matrix(texts, costs=costs)

    assert policy.choose(target, running) == chosen_by_hand(texts, costs, target, running)


@settings(deadline=None)
@given(expressions().filter(few), st.frozensets(st.sampled_from(MODELS), min_size=2))
def test_together_is_what_one_of_all_sets_holds(texts: dict[str, str], models: set[str]) -> None:
    by_hand = any(models <= one for ones in all_sets(texts).values() for one in ones)

    assert matrix(texts).can_run_together(models) == by_hand


# --- size -----------------------------------------------------------------------------------------


def many(count: int) -> list[str]:
    return [f"m{number}" for number in range(count)]


def work(policy: Matrix, target: str, running: Iterable[str]) -> int:
    """How many pairs of states were looked at."""
    one = _Search(policy._graph, dict.fromkeys([target, *running], 1))
    one.run(policy._roots, [target])
    return one._work


def test_a_million_sets_are_never_multiplied_out_whatever_runs() -> None:
    models = many(60)
    parts = [" | ".join(models[at : at + 10]) for at in range(0, 60, 10)]
    policy = matrix({"x": " & ".join(f"({part})" for part in parts)}, models=models)

    assert policy.choose("m5", models[:5] + models[6:]).cost == 54
    assert policy.can_run_together(models[::10])
    assert work(policy, "m5", models) == 6  # one state for each part


def test_more_models_than_a_machine_word_has_bits_may_run() -> None:
    models = many(200)
    policy = matrix({"x": " & ".join(models[:100]), "y": " & ".join(models[50:])}, models=models)

    assert policy.choose("m60", [*models[:60], *models[61:]]) == Choice(
        "y", frozenset(models[:50]), 50
    )
    assert policy.can_run_together(models[50:])
    assert not policy.can_run_together(models[49:])


def test_a_chain_of_parts_that_share_with_their_neighbours_only_is_no_more_work_per_part() -> None:
    models = many(400)
    pairs = itertools.pairwise(models)
    policy = matrix({"x": " & ".join(f"({one} | {two})" for one, two in pairs)}, models=models)

    assert work(policy, "m7", models) < 10 * len(models)
    assert policy.choose("m0", models[1:]) == Choice("x", frozenset({"m399"}), 1)


def test_sets_that_are_doubled_again_and_again_have_an_end() -> None:
    models = many(16)
    sets = {"s0": " | ".join(models)}
    sets |= {f"s{at}": f"+s{at - 1} & +s{at - 1}" for at in range(1, 60)}
    policy = matrix(sets, models=models)

    assert MAX_WORK < work(policy, "m0", models) < 3 * MAX_WORK
    assert policy.choose("m0", models[1:]).stops == frozenset()


def test_a_long_chain_of_references_is_followed_in_either_direction() -> None:
    models = many(5000)
    chain = {f"s{at}": f"+s{at - 1} & m{at}" for at in range(1, 5000)}
    forth = matrix({"s0": "m0"} | chain, models=models)
    back = matrix(dict(reversed(chain.items())) | {"s0": "m0"}, models=models)

    expected = Choice("s4999", frozenset(), 0)
    assert forth.choose("m0", ["m4999"]) == back.choose("m0", ["m4999"]) == expected


def test_when_there_is_too_much_to_look_at_the_model_that_was_asked_for_is_still_in_the_set() -> (
    None
):
    """Each part has one of two models, each of which is in two parts; a good set is found."""
    models = many(40)
    sets = {"x": " & ".join(f"({models[at]} | {models[(at + 13) % 40]})" for at in range(40))}
    policy = matrix(sets, models=models)

    choice = policy.choose("m21", [*models[:21], *models[22:]])
    assert choice.set_name == "x"
    assert choice.cost <= 20


# --- the value ------------------------------------------------------------------------------------


def test_two_that_are_written_alike_are_equal_and_keep_what_was_written() -> None:
    written = {"x": "a & see", "y": "b"}
    one, other = (matrix(written, variables={"see": "c"}, costs={"see": 2}) for _ in range(2))
    one.choose("a", "b")

    assert one == other
    assert (one.variables, one.evict_costs, one.sets) == ({"see": "c"}, {"see": 2}, written)
    assert compile_matrix(one.variables, one.evict_costs, one.sets, MODELS) == one
    assert repr(one) == (
        "Matrix(variables=mappingproxy({'see': 'c'}), evict_costs=mappingproxy({'see': 2}), "
        "sets=mappingproxy({'x': 'a & see', 'y': 'b'}))"
    )


@pytest.mark.parametrize(
    "other",
    [
        matrix({"y": "b", "x": "a"}),  # the order decides ties
        matrix({"x": "a", "y": "c"}),
        matrix({"x": "a", "y": "b"}, costs={"a": 2}),
        matrix({"x": "a", "y": "b"}, variables={"z": "a"}),
    ],
)
def test_two_that_are_written_otherwise_are_not_equal(other: Matrix) -> None:
    assert matrix({"x": "a", "y": "b"}) != other


def test_what_was_written_cannot_be_changed_afterwards() -> None:
    written = {"x": "a"}
    policy = matrix(written)
    written["x"] = "b"

    assert policy.sets == {"x": "a"}
    with pytest.raises(TypeError):
        policy.sets["x"] = "b"  # type: ignore[index]


def test_the_memory_of_choices_does_not_grow_without_end() -> None:
    models = [f"m{number}" for number in range(1500)]
    policy = matrix({"x": " & ".join(models)}, models=models)

    for model in models:
        assert policy.choose(model, ["other"]) == Choice("x", frozenset({"other"}), 1)
    assert len(policy._choices) <= 1000


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "A.b-9", "x" * 32])
def test_short_names_are_of_letters_digits_dots_and_dashes(name: str) -> None:
    assert matrix({"s": name}, variables={name: "b"}).choose("b", "").set_name == "s"


@pytest.mark.parametrize("name", ["", "x" * 33, "a_b", "a/b", "a b", "é", "a\n"])
def test_other_short_names_are_told(name: str) -> None:
    assert problems({"s": "a"}, variables={name: "b"}) == (
        MatrixProblem("vars", name, 0, f"{name!r} cannot be used: take 1 to 32 of A-Z a-z 0-9 - ."),
    )


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"a": 0}, "0 is too small; write 1 or more"),
        ({"a": -3}, "-3 is too small; write 1 or more"),
        ({"quen": 2}, "there is no model or short name 'quen'; did you mean 'qwen'?"),
        ({"qwen": 2, "q": 3}, "'qwen' is the same model, and costs 2; remove one"),
    ],
)
def test_wrong_costs_are_told(costs: dict[str, int], message: str) -> None:
    found = problems({"s": "a"}, variables={"q": "qwen"}, costs=costs, models=["a", "qwen"])

    assert found == (MatrixProblem("evict_costs", list(costs)[-1], 0, message),)


def test_a_cost_may_be_given_twice_if_it_is_the_same() -> None:
    assert matrix({"s": "a"}, variables={"x": "a"}, costs={"a": 2, "x": 2}).evicted_by(
        "b", "a"
    ) == {"a"}


def test_a_short_name_for_no_model_is_told_once_however_often_it_is_used() -> None:
    assert problems({"s": "x & a", "t": "x"}, variables={"x": "quen"}, models=["a", "qwen"]) == (
        MatrixProblem("vars", "x", 0, "there is no model 'quen'; did you mean 'qwen'?"),
    )


def test_a_matrix_without_sets_is_told() -> None:
    assert problems({}) == (
        MatrixProblem("sets", "", 0, "there are no sets; write at least one, such as all: a & b"),
    )


@pytest.mark.parametrize(
    ("sets", "column", "message"),
    [
        (
            {"s": "a & qwem"},
            5,
            "there is no model or short name 'qwem'; did you mean 'qwen'?",
        ),
        ({"s": "a & +bigg", "big": "a"}, 5, "there is no set 'bigg'; did you mean 'big'?"),
        ({"s": "a & +qwen"}, 5, "there is no set 'qwen'; write the model without '+'"),
        ({"s": "a & big", "big": "a"}, 5, "'big' is a set; write +big"),
        ({"s": "a &"}, 4, "the expression ends after '&'; write a name"),
        ({"s": " "}, 1, "the expression is empty; write the names of models"),
        ({"s": "a | +s"}, 5, "+s leads back here (+s -> +s); a set cannot be a part of itself"),
    ],
)
def test_a_mistake_in_an_expression_is_told_with_its_column(
    sets: dict[str, str], column: int, message: str
) -> None:
    assert problems(sets, models=["a", "qwen"]) == (
        MatrixProblem("sets", "s", column, f"column {column} of the expression: {message}"),
    )


def test_a_circle_is_told_at_the_reference_that_closes_it() -> None:
    assert problems({"x": "a & +y", "y": "b | +z", "z": "+y"}) == (
        MatrixProblem(
            "sets",
            "z",
            1,
            "column 1 of the expression: +y leads back here (+y -> +z -> +y); "
            "a set cannot be a part of itself",
        ),
    )


def test_a_set_that_is_in_several_circles_is_told_once() -> None:
    found = problems({"x": "+x | +y", "y": "+x | +y"})

    assert [(problem.name, problem.column) for problem in found] == [("x", 1), ("y", 1)]


def test_similar_names_are_not_looked_for_without_end() -> None:
    found = problems({"s": " & ".join(f"qwen{number}" for number in range(50))}, models=["qwen"])

    assert len(found) == 50
    assert sum("did you mean 'qwen'?" in problem.message for problem in found) == 20


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        {"x": "a & 7b/c", "y": "nobody & +x +", "z": "+z | no & ("},
        variables={"a_b": "gone"},
        costs={"a": 0, "b": -1, "who": 1},
    )

    assert [(problem.section, problem.name, problem.column) for problem in found] == [
        ("vars", "a_b", 0),
        ("vars", "a_b", 0),
        ("evict_costs", "a", 0),
        ("evict_costs", "b", 0),
        ("evict_costs", "who", 0),
        ("sets", "x", 7),
        ("sets", "x", 5),
        ("sets", "y", 13),
        ("sets", "y", 1),
        ("sets", "z", 12),
        ("sets", "z", 6),
        ("sets", "z", 1),
    ]


@given(
    st.dictionaries(st.text(), st.text()),
    st.dictionaries(st.text(), st.integers()),
    st.dictionaries(
        st.sampled_from(["x", "y", ""]), st.text(st.sampled_from("abxy&|()+ ")), max_size=3
    ),
)
def test_whatever_is_written_gives_a_matrix_or_one_error(
    variables: dict[str, str], costs: dict[str, int], sets: dict[str, str]
) -> None:
    try:
        policy = compile_matrix(variables, costs, sets, list(MODELS))
    except MatrixError:
        return
    assert policy.evicted_by("a", "b") <= {"b"}
