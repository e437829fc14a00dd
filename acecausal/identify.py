"""Identification: what must be held fixed, by DoWhy on the declared graph. The only module that imports dowhy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import networkx as nx

from acecausal.codebook import Codebook
from acecausal.errors import AceError, unknown

ANSWER = "answer"

#: Who causes whom among the usual attributes, where a codebook declares nothing.
DEFAULT_PARENTS: dict[str, tuple[str, ...]] = {
    "education": ("gender", "age", "birth_region"),
    "residence": ("education", "gender", "age", "birth_region"),
    "marital_status": ("education", "gender", "age", "birth_region"),
}
#: Other names under which codebooks know them.
SYNONYMS = {"sex": "gender", "degree": "education", "age_group": "age", "marital": "marital_status"}


def causal_graph(codebook: Codebook) -> nx.DiGraph:
    """Build the graph the codebook declares: parents to attributes, and everything to the answer.

    A codebook without any parents gets the usual ones (`DEFAULT_PARENTS`) for the attributes it has.
    """
    graph = nx.DiGraph()
    for name in (*codebook.attributes, *codebook.covariates):
        graph.add_edge(name, ANSWER)
    declared = {name: attribute.parents for name, attribute in codebook.attributes.items()}
    if not any(declared.values()):
        there = {SYNONYMS.get(name, name): name for name in (*codebook.covariates, *codebook.attributes)}
        declared = {
            name: tuple(there[p] for p in DEFAULT_PARENTS.get(SYNONYMS.get(name, name), ()) if p in there)
            for name in codebook.attributes
        }
    for name, parents in declared.items():
        graph.add_edges_from((parent, name) for parent in parents)
    _check_acyclic(graph, "codebook")
    return graph


def read_graph(path: str | Path) -> nx.DiGraph:
    """Read a causal graph from a DOT (.dot, .gv) or GML (.gml) file.

    Nodes are named as in the codebook, the answers ``answer``; a node that the codebook does not know is unobserved.

    Raises
    ------
    AceError
        If the file is missing, no directed acyclic graph, or has no node ``answer`` or one that causes something.
    """
    path = Path(path)
    param = str(path)
    if not path.exists():
        raise AceError("no such file", param=param)
    if path.suffix not in (".dot", ".gv", ".gml"):
        raise AceError("unknown suffix", param=param, expected=".dot, .gv or .gml", got=path.suffix or "no suffix")
    try:
        graph = nx.read_gml(path) if path.suffix == ".gml" else _read_dot(path)
    except AceError:
        raise
    except Exception as error:  # each parser has its own exceptions
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AceError("cannot be read", param=param, expected=f"a {path.suffix} graph", got=first) from error
    if not graph.is_directed():
        raise AceError("is not directed", param=param, hint="digraph in DOT, directed 1 in GML")
    graph = nx.DiGraph(graph.edges)
    if ANSWER not in graph:
        raise AceError(f"has no node {ANSWER}", param=param, got=", ".join(map(str, graph.nodes)))
    _check_acyclic(graph, param)
    if list(graph.successors(ANSWER)):
        raise AceError("the answer causes something", param=param, got=", ".join(graph.successors(ANSWER)))
    return graph


def direct_adjustment(graph: nx.DiGraph, treatment: str, observed: Sequence[str]) -> tuple[str, ...]:
    """Find what to hold fixed for the controlled direct effect of `treatment` on the answer.

    Parameters
    ----------
    graph : networkx.DiGraph
        Acyclic, with a node `answer`.
    treatment : str
    observed : sequence of str
        What the survey knows; other nodes are unobserved.

    Returns
    -------
    tuple of str
        All other observed nodes, sorted: a persona edit holds mediators, common causes and everything else fixed.

    Raises
    ------
    AceError
        If that does not separate the treatment from the answer but for the direct edge; it names an open path.

    References
    ----------
    VanderWeele (2011), Controlled direct and mediated effects, Scandinavian Journal of Statistics 38(3).
    """
    _check_node(graph, treatment)
    held = tuple(sorted((set(graph.nodes) & set(observed)) - {treatment, ANSWER}))
    if not _separates(_edges(graph), treatment, held, direct=True):
        raise AceError(
            "the direct effect is not identified on the declared graph",
            param=treatment,
            got=_open_path(graph, treatment, held, direct=True),
            hint="a variable on this path would have to be observed",
        )
    return held


def total_adjustment(
    graph: nx.DiGraph, treatment: str, observed: Sequence[str], attributes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find what to adjust for, for the total effect of `treatment` on the answer, and which contexts it can have.

    Parameters
    ----------
    graph : networkx.DiGraph
    treatment : str
    observed : sequence of str
    attributes : sequence of str
        Of the lattice.

    Returns
    -------
    adjustment : tuple of str
        A backdoor set, sorted: the observed causes of treatment or answer that the treatment does not cause, or DoWhy's
        own set where that one would open a path.
    modifiers : tuple of str
        Attributes that the treatment does not cause, and that with the adjustment still block every backdoor path.

    Raises
    ------
    AceError
        If no observed set blocks every backdoor path (it names an open one), or there is nothing to estimate.

    References
    ----------
    Pearl (2009), Causality, 3.3; VanderWeele and Shpitser (2011), A new criterion for confounder selection.
    """
    _check_node(graph, treatment)
    if not nx.has_path(graph, treatment, ANSWER):
        raise AceError("has no effect on the declared graph", param=treatment, hint="no path leads to answer")
    edges = _edges(graph)
    before = (set(graph.nodes) & set(observed)) - nx.descendants(graph, treatment) - {treatment, ANSWER}
    causes = nx.ancestors(graph, treatment) | nx.ancestors(graph, ANSWER)
    adjustment = tuple(sorted(before & causes))
    if not _separates(edges, treatment, adjustment, direct=False):
        found = _backdoor(edges, treatment, tuple(sorted(before)))
        if found is None:
            raise AceError(
                "the total effect is not identified on the declared graph",
                param=treatment,
                got="open path " + _open_path(graph, treatment, adjustment, direct=False),
                hint="a variable on this path would have to be observed",
            )
        adjustment = found
    modifiers: list[str] = []
    for name in attributes:
        if name in before and _separates(
            edges, treatment, tuple(sorted({*adjustment, *modifiers, name})), direct=False
        ):
            modifiers.append(name)
    return adjustment, tuple(modifiers)


def graph_json(graph: nx.DiGraph) -> str:
    """Write the graph as a JSON list of edges, for the cube's attrs."""
    return json.dumps(sorted(map(list, graph.edges)))


Edges = tuple[tuple[str, str], ...]


@lru_cache(maxsize=1024)
def _separates(edges: Edges, treatment: str, held: tuple[str, ...], direct: bool) -> bool:
    """Ask DoWhy whether `held` leaves no path but causal ones (total), or but the edge to the answer (direct)."""
    from dowhy.causal_identifier.auto_identifier import check_valid_backdoor_set
    from dowhy.graph import do_surgery

    graph = nx.DiGraph(edges)
    without = do_surgery(
        graph,
        [treatment],
        remove_outgoing_edges=True,
        target_node_names=[ANSWER] if direct else None,
        remove_only_direct_edges_to_target=direct,
    )
    found = check_valid_backdoor_set(graph, [treatment], [ANSWER], set(held), new_graph=without)
    return bool(found["is_dseparated"])


@lru_cache(maxsize=1024)
def _backdoor(edges: Edges, treatment: str, allowed: tuple[str, ...]) -> tuple[str, ...] | None:
    """Ask DoWhy for a backdoor set among `allowed`."""
    from dowhy.causal_identifier import (
        BackdoorAdjustment,
        EstimandType,
        identify_effect_auto,
    )

    found = identify_effect_auto(
        nx.DiGraph(edges),
        [treatment],
        [ANSWER],
        [*allowed, treatment, ANSWER],
        EstimandType.NONPARAMETRIC_ATE,
        backdoor_adjustment=BackdoorAdjustment.BACKDOOR_EXHAUSTIVE,
    )
    for names in (found.backdoor_variables or {}).values():
        if (
            names is not None
            and set(names) <= set(allowed)
            and _separates(edges, treatment, tuple(sorted(names)), direct=False)
        ):
            return tuple(sorted(names))
    return None


def _open_path(graph: nx.DiGraph, treatment: str, held: tuple[str, ...], *, direct: bool) -> str:
    """Find a path that `held` leaves open and should not, and write it with its arrows; the shortest."""
    cut = graph.copy()
    cut.remove_edges_from([(treatment, ANSWER)] if direct else list(graph.out_edges(treatment)))
    conditioned = set(held)
    causes = {node: nx.descendants(cut, node) | {node} for node in cut.nodes}
    for path in nx.shortest_simple_paths(cut.to_undirected(), treatment, ANSWER):
        inner = range(1, len(path) - 1)
        if all(
            bool(causes[path[i]] & conditioned)
            if cut.has_edge(path[i - 1], path[i]) and cut.has_edge(path[i + 1], path[i])
            else path[i] not in conditioned
            for i in inner
        ):
            arrows = ["->" if cut.has_edge(a, b) else "<-" for a, b in pairwise(path)]
            return " ".join([path[0], *(f"{arrow} {node}" for arrow, node in zip(arrows, path[1:], strict=True))])
    return "none found"


def _read_dot(path: Path) -> nx.DiGraph:
    import pydot

    parsed = pydot.graph_from_dot_file(str(path))
    if not parsed:
        raise AceError("cannot be read", param=str(path), expected="a DOT graph")
    if parsed[0].get_type() != "digraph":
        raise AceError("is not directed", param=str(path), hint="write digraph, and -> for edges")
    graph = nx.DiGraph()
    for edge in parsed[0].get_edges():
        ends = [str(end).strip('"') for end in (edge.get_source(), edge.get_destination())]
        if str(edge.get("dir") or "").strip('"') == "both":
            raise AceError(
                "edges in both directions are not read",
                param=f"{path}, {' -> '.join(ends)}",
                hint="write the unobserved common cause as a node",
            )
        graph.add_edge(*ends)
    return graph


def _edges(graph: nx.DiGraph) -> Edges:
    return tuple(sorted(graph.edges))


def _check_acyclic(graph: nx.DiGraph, param: str) -> None:
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " -> ".join(str(start) for start, _ in nx.find_cycle(graph))
        raise AceError("causes form a cycle", param=param, got=cycle)


def _check_node(graph: nx.DiGraph, treatment: str) -> None:
    nodes: Iterable[str] = graph.nodes
    if treatment not in nodes:
        raise unknown("graph, node", treatment, list(nodes))
