"""Identification: textbook graphs with known answers, and brute force over random ones."""

from __future__ import annotations

import json
from itertools import chain, combinations
from time import perf_counter

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acecausal.errors import AceError
from acecausal.estimation.identify import causal_graph, direct_adjustment, graph_json, read_graph, total_adjustment
from acecausal.survey.codebook import Codebook


def dag(text: str) -> nx.DiGraph:
    """Build a graph from edges like ``"z>t z>answer t>answer"``."""
    return nx.DiGraph([tuple(edge.split(">")) for edge in text.split()])


# Answers from the textbooks: (edges, unobserved, adjustment, modifiers) for the total effect of t, where every observed
# node is an attribute of the lattice.
TOTAL = {
    # Pearl (2009) 3.3: a common cause must be held fixed
    "confounder": ("z>t z>answer t>answer", "", "z", "z"),
    # a mediator must not, nor may it be a context
    "mediator": ("t>m m>answer t>answer", "", "", ""),
    "mediator with its own confounder": ("z>m z>answer t>m m>answer", "", "z", "z"),
    # Pearl (2009) figure 3.4 type: a confounder's proxy between it and the answer is enough
    "unobserved confounder behind a proxy": ("u>z u>t z>answer t>answer", "u", "z", "z"),
    # VanderWeele and Shpitser (2011): conditioning on the collider of two unobserved causes opens a path
    "M-bias": ("u>t u>z v>z v>answer t>answer", "u v", "", ""),
    # each alone leaves the path blocked at the other
    "two colliders in a row": ("u>t u>a w>a w>b v>b v>answer t>answer", "u v w", "", "a"),
    "M-bias, one cause observed": ("u>t u>z v>z v>answer t>answer", "u", "v", "v z"),
    # the collider causes both: z alone opens t <- u -> z <- v -> answer, an arm of the butterfly closes it
    "butterfly": ("u>t u>z v>z v>answer z>t z>answer t>answer", "u", "v z", "v z"),
    # Pearl (2009) 7.4: an instrument is no confounder; a context it may be
    "instrument": ("i>t t>answer", "", "", "i"),
    "instrument and confounder": ("i>t z>t z>answer t>answer", "", "z", "i z"),
    # a cause of the answer alone: not needed, but the estimate is more precise (Henckel et al. 2022)
    "precision": ("p>answer t>answer", "", "p", "p"),
    # a blocks what the context m opens, so it must not go the way of the instruments
    "instrument that guards a context": ("a>t a>m u>m u>answer t>answer", "u", "a", "a m"),
    "effect of the treatment beside the answer": ("t>d t>answer z>d", "", "", "z"),
}


@pytest.mark.parametrize("case", TOTAL)
def test_total_adjustment__textbook(case):
    edges, unobserved, adjustment, modifiers = TOTAL[case]
    graph = dag(edges)
    observed = sorted(set(graph) - set(unobserved.split()) - {"answer"})
    expected = tuple(adjustment.split()), tuple(modifiers.split())
    assert total_adjustment(graph, "t", observed, observed) == expected


NOT_IDENTIFIED = {
    "unobserved confounder": ("u>t u>answer t>answer", "u", "t <- u -> answer", "observe u:"),
    # Pearl (2009) 3.3.2: identified, but by no backdoor set
    "front door": ("u>t u>answer t>m m>answer", "u", "t <- u -> answer", "observe u:"),
    # Pearl (2009) 7.4: an instrument does not close the backdoor
    "instrument": ("i>t u>t u>answer t>answer", "u", "t <- u -> answer", "observe u:"),
    "butterfly": (
        "u>t u>z v>z v>answer z>t z>answer t>answer",
        "u v",
        "t <- u -> z <- v -> answer",
        "observe u or v:",
    ),
    "confounder of treatment and mediator": ("u>t u>m t>m m>answer", "u", "t <- u -> m -> answer", "observe u:"),
}


@pytest.mark.parametrize("case", NOT_IDENTIFIED)
def test_total_adjustment__names_the_open_path(case):
    edges, unobserved, path, hint = NOT_IDENTIFIED[case]
    graph = dag(edges)
    observed = sorted(set(graph) - set(unobserved.split()) - {"answer"})
    with pytest.raises(AceError) as caught:
        total_adjustment(graph, "t", observed, observed)
    assert caught.value.got == f"open path {path}"
    assert hint in str(caught.value)


def test_total_adjustment__no_effect_and_no_node():
    graph = dag("t>z z>w p>answer")
    graph.add_node("alone")
    for treatment in ("t", "alone"):
        with pytest.raises(AceError, match="has no effect on the answer"):
            total_adjustment(graph, treatment, list(graph), list(graph))
    with pytest.raises(AceError, match="unknown name") as caught:
        total_adjustment(dag("education>answer"), "educaton", [], [])
    assert "did you mean 'education'" in str(caught.value)


def test_observed_beyond_the_graph__do_not_matter():
    graph = dag("z>t z>answer t>answer")
    assert total_adjustment(graph, "t", ["t", "z", "elsewhere"], ["elsewhere", "z"]) == (("z",), ("z",))
    assert direct_adjustment(graph, "t", ["t", "z", "elsewhere"]) == ("z",)


# Held fixed for the direct effect: all that is observed. VanderWeele (2011): mediators and what confounds them.
DIRECT = {
    "mediator": ("t>m m>answer t>answer", "", "m"),
    "mediator with its own confounder": ("z>m z>answer t>m m>answer t>answer", "", "m z"),
    "confounder": ("z>t z>answer t>answer", "", "z"),
    "proxy": ("u>z u>t z>answer t>answer", "u", "z"),
    "descendant of the treatment": ("t>d t>answer", "", "d"),
    "no cause of anything": ("t>answer z>answer u>d", "u", "d z"),
}


@pytest.mark.parametrize("case", DIRECT)
def test_direct_adjustment__textbook(case):
    edges, unobserved, expected = DIRECT[case]
    graph = dag(edges)
    observed = sorted(set(graph) - set(unobserved.split()))
    assert direct_adjustment(graph, "t", observed) == tuple(expected.split())


def test_direct_adjustment__all_nodes_by_default():
    assert direct_adjustment(dag("u>t u>answer t>m m>answer"), "t") == ("m", "u")
    graph = dag("z>answer")
    graph.add_node("alone")
    assert direct_adjustment(graph, "alone") == ("z",)
    assert direct_adjustment(graph, "z") == ("alone",)


DIRECT_OPEN = {
    "unobserved confounder": ("u>t u>answer t>answer", "u", "t <- u -> answer", "observe u:"),
    "unobserved mediator": ("t>u u>answer t>answer", "u", "t -> u -> answer", "observe u:"),
    # the total effect is identified here
    "confounded mediator": ("u>m u>answer t>m m>answer t>answer", "u", "t -> m <- u -> answer", "observe u:"),
    "M-bias": ("u>t u>z v>z v>answer t>answer", "u v", "t <- u -> z <- v -> answer", "observe u or v:"),
    "collider's child is observed": (
        "u>t u>c v>c v>answer c>d t>answer",
        "u v c",
        "t <- u -> c <- v -> answer",
        "observe u or v:",
    ),
}


@pytest.mark.parametrize("case", DIRECT_OPEN)
def test_direct_adjustment__names_the_open_path(case):
    edges, unobserved, path, hint = DIRECT_OPEN[case]
    graph = dag(edges)
    with pytest.raises(AceError, match="direct effect is not identified") as caught:
        direct_adjustment(graph, "t", sorted(set(graph) - set(unobserved.split())))
    assert caught.value.got == f"open path {path}"
    assert hint in str(caught.value)


def valid(graph: nx.DiGraph, treatment: str, held: tuple[str, ...] | set[str], *, direct: bool = False) -> bool:
    """Check by networkx alone: no descendant held (total), and d-separated without the treatment's outgoing edges."""
    cut = graph.copy()
    cut.remove_edges_from([(treatment, "answer")] if direct else list(graph.out_edges(treatment)))
    allowed = direct or not set(held) & nx.descendants(graph, treatment)
    return allowed and nx.is_d_separator(cut, {treatment}, {"answer"}, set(held))


def is_open(graph: nx.DiGraph, words: str, held: set[str]) -> bool:
    """Check by d-separation, edge for edge, that a path written with arrows is in the graph and open given `held`."""
    parts = words.split()
    nodes, arrows = parts[::2], parts[1::2]
    edges = [(a, b) if arrow == "->" else (b, a) for a, arrow, b in zip(nodes, arrows, nodes[1:], strict=False)]
    colliders = {
        b for b, left, right in zip(nodes[1:], arrows, arrows[1:], strict=False) if (left, right) == ("->", "<-")
    }
    reach = {node: nx.descendants(graph, node) | {node} for node in colliders}
    return (
        len(set(nodes)) == len(nodes)
        and all(graph.has_edge(*edge) for edge in edges)
        and not (set(nodes[1:-1]) - colliders) & held
        and all(reach[node] & held for node in colliders)
    )


@st.composite
def problems(draw):
    """Draw a graph of five or six nodes, its treatment, and what is observed."""
    names = draw(st.permutations(["t", "a", "b", "c", "d"][: draw(st.integers(4, 5))]))
    order = [*names, "answer"]
    edges = [pair for pair in combinations(order, 2) if draw(st.booleans())]
    graph = nx.DiGraph(edges)
    graph.add_nodes_from(order)
    observed = [name for name in sorted(names) if name == "t" or draw(st.booleans())]
    return graph, observed


@settings(max_examples=400, deadline=None)
@given(problems())
def test_total_adjustment__against_brute_force(problem):
    """Oracles: d-separation by networkx for what is returned; every subset of the observed for what is refused."""
    graph, observed = problem
    before = sorted(set(observed) - {"t"} - nx.descendants(graph, "t"))
    subsets = chain.from_iterable(combinations(before, size) for size in range(len(before) + 1))
    effect = nx.has_path(graph, "t", "answer")
    possible = [subset for subset in subsets if valid(graph, "t", subset)]
    try:
        adjustment, modifiers = total_adjustment(graph, "t", observed, observed)
    except AceError as error:
        assert not (effect and possible)
        if effect:
            causes = nx.ancestors(graph, "t") | nx.ancestors(graph, "answer")
            path = str(error.got).removeprefix("open path ")
            assert path.startswith("t <- ")
            assert path.endswith(" answer")
            assert is_open(graph, path, causes & set(before))
        return
    assert effect
    assert adjustment in possible
    assert valid(graph, "t", {*adjustment, *modifiers})
    for name in before:  # greedy: whoever was left out would open a path
        earlier = [other for other in modifiers if other < name]
        assert name in modifiers or not valid(graph, "t", {*adjustment, *earlier, name})
    for name in adjustment:  # nobody is there in vain
        assert not nx.is_d_separator(graph, {name}, {"answer"}, {"t", *adjustment, *modifiers} - {name})


@settings(max_examples=200, deadline=None)
@given(problems())
def test_direct_adjustment__against_brute_force(problem):
    """Oracle: d-separation by networkx without the edge from treatment to answer."""
    graph, observed = problem
    others = set(observed) - {"t"}
    try:
        held = direct_adjustment(graph, "t", observed)
    except AceError as error:
        assert not valid(graph, "t", others, direct=True)
        path = str(error.got).removeprefix("open path ")
        assert path != "t -> answer"
        assert is_open(graph, path, others)
        return
    assert set(held) == others
    assert valid(graph, "t", held, direct=True)


def test_cost__a_plan_waits_for_neither_answer_nor_error():
    """Twenty attributes in one order of causes: tens of milliseconds for all, identified or not (a second at most)."""
    names = [f"x{i:02}" for i in range(20)]
    graph = nx.DiGraph([(a, b) for a, b in combinations([*names, "answer"], 2)])
    total_adjustment(graph, names[0], names, names)  # imports DoWhy
    start = perf_counter()
    for number, name in enumerate(names):
        assert total_adjustment(graph, name, names, names) == (tuple(names[:number]),) * 2
        assert direct_adjustment(graph, name, names) == tuple(names[:number] + names[number + 1 :])
    hidden = ["u1", "u2", "u3", "u4"]
    graph.add_edges_from(zip(hidden, [names[-1], *hidden], strict=False))
    graph.add_edge("u4", "answer")
    with pytest.raises(AceError, match="x19 <- u1 <- u2 <- u3 <- u4 -> answer"):
        total_adjustment(graph, names[-1], names, names)
    assert perf_counter() - start < 1


GOOD = {
    "plain.dot": "digraph { gender -> education; gender -> answer; education -> answer; alone }",
    "quoted.gv": 'strict digraph "g" {\n rankdir=LR; node [shape=box]; edge [color=red]\n alone;\n'
    " // a -- b\n # a <-> b\n"
    ' "gender" -> "education":n -> "answer" [label="a -- <- b"]; gender:s -> answer /* <- */\n}',
    "groups.dot": "digraph { {gender education} -> answer; subgraph cluster_1 { gender -> {education}; alone } }",
    "plain.gml": """graph [ directed 1
        node [ id 0 label "gender" ] node [ id 1 label "education" ]
        node [ id 2 label "answer" ] node [ id 3 label "alone" ]
        edge [ source 0 target 1 ] edge [ source 0 target 2 ] edge [ source 1 target 2 weight 0.5 ] ]""",
    "multigraph.gml": """graph [ directed 1 multigraph 1
        node [ id 0 label "gender" ] node [ id 1 label "education" ]
        node [ id 2 label "answer" ] node [ id 3 label "alone" ]
        edge [ source 0 target 1 key 0 ] edge [ source 0 target 1 key 1 ]
        edge [ source 0 target 2 ] edge [ source 1 target 2 ] ]""",
}


@pytest.mark.parametrize("name", GOOD)
def test_read_graph__same_graph_however_written(name, tmp_path, capfd):
    """Oracle: the edges, written by hand."""
    (tmp_path / name).write_text(GOOD[name], encoding="utf-8")
    graph = read_graph(tmp_path / name)
    assert set(graph.edges) == {("gender", "education"), ("gender", "answer"), ("education", "answer")}
    assert set(graph.nodes) == {"gender", "education", "answer", "alone"}
    assert json.loads(graph_json(graph)) == [["education", "answer"], ["gender", "answer"], ["gender", "education"]]
    assert capfd.readouterr() == ("", "")


def test_read_graph__names_as_they_are(tmp_path):
    path = tmp_path / "g.dot"
    names = ['"birth region"', '"a:b"', '"q\\"x"', "née", "1"]
    path.write_text(f"\ufeffdigraph {{ {'; '.join(f'{name} -> answer' for name in names)} }}", encoding="utf-8")
    assert set(read_graph(path)) == {"birth region", "a:b", 'q"x', "née", "1", "answer"}
    path = tmp_path / "numbers.gml"
    path.write_text(
        'graph [ directed 1 node [ id 0 label 7 ] node [ id 1 label "answer" ] edge [ source 0 target 1 ] ]'
    )
    assert list(read_graph(path).edges) == [("7", "answer")]


BAD = {
    "cycle.dot": ("digraph { a -> b -> c -> a; c -> answer }", "got: a -> b -> c -> a"),
    "loop.dot": ("digraph { a -> a; a -> answer }", "got: a -> a"),
    "undirected.dot": ("graph { a -- answer }", "is not directed"),
    "undirected_edge.dot": ("digraph { a -- answer }", "is not directed"),
    "empty_undirected.dot": ("graph { a; answer }", "is not directed"),
    "undirected.gml": ('graph [ node [ id 0 label "answer" ] ]', "is not directed"),
    "bidirected.dot": ("digraph { a -> answer; a <-> b }", "unobserved common cause as a node"),
    "backward.dot": ("digraph { answer <- a }", "cause -> effect"),
    "both.dot": ("digraph { a -> answer; a -> b [dir=both] }", "unobserved common cause as a node"),
    "back.dot": ('digraph { a -> answer [dir="back"] }', "edges must point forward"),
    "default.dot": ("digraph { edge [dir=both]; a -> answer }", "edges must point forward"),
    "nested.dot": ("digraph { subgraph s { edge [dir=none] a -> answer } }", "edges must point forward"),
    "braces.dot": ("digraph { {a -> b} -> answer }", "inside the braces"),
    "two.dot": ("digraph { a -> answer } digraph { b -> answer }", "more than one graph"),
    "unnamed.dot": ("digraph { a -> answers }", "has no node answer"),
    "nothing.dot": ("digraph { }", "got: no nodes"),
    "leads_on.dot": ("digraph { a -> answer -> b }", "the answer causes something"),
    "leads_on.gml": (
        'graph [ directed 1 node [ id 0 label "answer" ] node [ id 1 label "b" ] edge [ source 0 target 1 ] ]',
        "got: b",
    ),
    "broken.dot": ("digraph { a -> ", "got: Expected"),
    "empty.dot": ("", "got: Expected"),
    "dagitty.dot": ("dag { a -> answer }", "got: Expected {'DIGRAPH' | 'GRAPH'}, found 'dag'"),
    "broken.gml": ("graph [ directed 1 node [ id 0 ", "cannot be read"),
    "unlabelled.gml": ("graph [ directed 1 node [ id 0 ] ]", "no 'label' attribute"),
    "graph.json": ("{}", "expected: .dot, .gv, .gml"),
    "graph": ("", "got: no suffix"),
}


@pytest.mark.parametrize("name", BAD)
def test_read_graph__says_what_is_wrong(name, tmp_path, capfd):
    text, message = BAD[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(AceError) as caught:
        read_graph(tmp_path / name)
    assert message in str(caught.value)
    assert caught.value.param == str(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_read_graph__no_such_file_and_no_text(tmp_path):
    with pytest.raises(AceError, match="no such file"):
        read_graph(tmp_path / "missing.dot")
    (tmp_path / "binary.dot").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AceError, match="cannot be read"):
        read_graph(tmp_path / "binary.dot")
    (tmp_path / "folder.gml").mkdir()
    with pytest.raises(AceError, match="cannot be read"):
        read_graph(tmp_path / "folder.gml")


def codebook(attributes: dict[str, list[str]], covariates: tuple[str, ...] = ()) -> Codebook:
    """Build a codebook of binary attributes with these parents."""
    level = {name: {"codes": [k], "label": name} for k, name in enumerate(("no", "yes"))}
    return Codebook.model_validate(
        {
            "codebook": 1, "name": "s", "title": "s", "source": "s", "licence": "s",
            "countries": {"column": "c", "levels": {"A": {"codes": ["A"], "label": "A"}}},
            "attributes": {
                name: {"column": name, "label": name, "baseline": "no", "parents": parents, "levels": level}
                for name, parents in attributes.items()
            },
            "values": {
                "v": {"column": "t", "question": "?", "topic": "t", "scale": "binary", "options": list(level.values())}
            },
            "covariates": {name: {"column": name, "label": name} for name in covariates},
        }
    )  # fmt: skip


def parents(graph: nx.DiGraph) -> dict[str, set[str]]:
    return {node: set(graph.predecessors(node)) for node in graph}


def test_causal_graph__default_where_nothing_is_declared():
    """Oracle: the usual causes, written by hand."""
    names = ["gender", "age", "birth_region", "education", "residence", "marital_status", "religion"]
    plain: dict[str, list[str]] = {name: [] for name in names}
    graph = causal_graph(codebook(plain))
    first = {"gender", "age", "birth_region"}
    assert parents(graph) == {
        "gender": set(), "age": set(), "birth_region": set(), "religion": set(),
        "education": first, "residence": first | {"education"}, "marital_status": first | {"education"},
        "answer": set(plain),
    }  # fmt: skip
    assert total_adjustment(graph, "education", list(plain), ["gender", "education", "residence"]) == (
        ("age", "birth_region", "gender", "religion"),
        ("gender",),
    )


def test_causal_graph__default_under_other_names_and_with_covariates():
    graph = causal_graph(codebook({"sex": [], "degree": [], "age_group": []}, ("age", "marital")))
    assert parents(graph) == {
        "sex": set(), "age_group": set(), "age": set(),
        "degree": {"sex", "age_group", "age"}, "marital": {"sex", "age_group", "age", "degree"},
        "answer": {"sex", "degree", "age_group", "age", "marital"},
    }  # fmt: skip


def test_causal_graph__declared_parents_leave_no_default():
    graph = causal_graph(codebook({"gender": [], "education": [], "residence": ["education"]}, ("age",)))
    assert parents(graph) == {
        "gender": set(), "age": set(), "education": set(), "residence": {"education"},
        "answer": {"gender", "education", "residence", "age"},
    }  # fmt: skip
    with pytest.raises(AceError, match="causes form a cycle") as caught:
        causal_graph(codebook({"a": ["b"], "b": ["a"]}))
    assert caught.value.got in ("a -> b -> a", "b -> a -> b")
