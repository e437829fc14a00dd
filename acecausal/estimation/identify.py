"""Identification: what must be held fixed, by DoWhy on the declared graph. The only module that imports dowhy."""

from __future__ import annotations

import json
import re
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from functools import lru_cache
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx

from acecausal.errors import AceError, unknown
from acecausal.survey.codebook import Codebook

ANSWER = "answer"

#: Who causes whom among the usual attributes, where a codebook declares nothing.
DEFAULT_PARENTS: dict[str, tuple[str, ...]] = {
    "education": ("gender", "age", "birth_region"),
    "residence": ("education", "gender", "age", "birth_region"),
    "marital_status": ("education", "gender", "age", "birth_region"),
}
#: Other names under which codebooks know them.
SYNONYMS = {"sex": "gender", "degree": "education", "age_group": "age", "marital": "marital_status"}


def causal_graph(codebook: Codebook, attributes: Sequence[str] = ()) -> nx.DiGraph:
    """Build the graph the codebook declares: parents to attributes, and everything to the answer.

    A codebook without any parents gets the usual ones (`DEFAULT_PARENTS`) for the attributes and covariates it has.

    Parameters
    ----------
    codebook : Codebook
    attributes : sequence of str, optional
        Those to take, one of each column; each stands also for the others of its column, as parents too. By default
        all attributes.

    Raises
    ------
    AceError
        If the parents form a cycle.
    """
    specs = codebook.attributes
    taken = {specs[name].column: name for name in attributes}
    stands = {name: taken.get(spec.column, name) for name, spec in specs.items()}
    names = (*dict.fromkeys(stands.values()), *codebook.covariates)
    graph = nx.DiGraph((name, ANSWER) for name in names)
    declared = {
        name: tuple(stands.get(parent, parent) for parent in specs[name].parents)
        for name in names
        if name not in codebook.covariates
    }
    if not any(declared.values()):
        usual = {name: SYNONYMS.get(name, name) for name in names}
        declared = {
            name: tuple(parent for parent in names if usual[parent] in DEFAULT_PARENTS.get(usual[name], ()))
            for name in names
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
    readers = {".dot": _read_dot, ".gv": _read_dot, ".gml": nx.read_gml}
    if not path.exists():
        raise AceError("no such file", param=param)
    if path.suffix not in readers:
        raise AceError("unknown suffix", param=param, expected=", ".join(readers), got=path.suffix or "no suffix")
    try:
        read = readers[path.suffix](path)
    except AceError:
        raise
    except Exception as error:  # each parser has its own exceptions
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AceError("cannot be read", param=param, expected=f"a {path.suffix} graph", got=first) from error
    if not read.is_directed():
        raise AceError("is not directed", param=param, hint="digraph in DOT, directed 1 in GML")
    graph = nx.DiGraph()  # without the files' drawing attributes, and names as text
    graph.add_nodes_from(map(str, read.nodes))
    graph.add_edges_from((str(cause), str(effect)) for cause, effect in read.edges())
    if ANSWER not in graph:
        raise AceError(
            f"has no node {ANSWER}",
            param=param,
            got=", ".join(graph.nodes) or "no nodes",
            hint=f"the node of the survey answers must be named {ANSWER}",
        )
    _check_acyclic(graph, param)
    if graph.out_degree(ANSWER):
        raise AceError("the answer causes something", param=param, got=", ".join(graph.successors(ANSWER)))
    return graph


def direct_adjustment(graph: nx.DiGraph, treatment: str, observed: Sequence[str] | None = None) -> tuple[str, ...]:
    """Find what to hold fixed for the controlled direct effect of `treatment` on the answer.

    Parameters
    ----------
    graph : networkx.DiGraph
        Acyclic, with a node `answer`.
    treatment : str
    observed : sequence of str, optional
        What the survey knows; other nodes are unobserved. Names that are no nodes do not matter. By default all nodes.

    Returns
    -------
    tuple of str
        All other observed nodes, sorted: a persona edit holds mediators, common causes and everything else fixed.

    Raises
    ------
    AceError
        If that does not separate the treatment from the answer but for the direct edge; it names an open path. Or if
        the treatment is no node.

    References
    ----------
    VanderWeele (2011), Controlled direct and mediated effects, Scandinavian Journal of Statistics 38(3).
    """
    _check_node(graph, treatment)
    known = graph.nodes if observed is None else set(graph.nodes) & set(observed)
    held = tuple(sorted(set(known) - {treatment, ANSWER}))
    if not _separates(_edges(graph), treatment, held, direct=True):
        raise _not_identified("direct", graph, treatment, held)
    return held


def total_adjustment(
    graph: nx.DiGraph, treatment: str, observed: Sequence[str], attributes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find what to adjust for, for the total effect of `treatment` on the answer, and which contexts it can have.

    Parameters
    ----------
    graph : networkx.DiGraph
        Acyclic, with a node `answer`.
    treatment : str
    observed : sequence of str
        What the survey knows; other nodes are unobserved. Names that are no nodes do not matter.
    attributes : sequence of str
        Of the lattice.

    Returns
    -------
    adjustment : tuple of str
        A backdoor set, sorted: the observed causes of treatment or answer that the treatment does not cause, without
        those (instruments) that tell nothing about the answer once treatment, the others and the modifiers are known.
    modifiers : tuple of str
        Attributes that the treatment does not cause, and that with the adjustment still block every backdoor path, in
        the order of `attributes`; one that would open a path is left out.

    Raises
    ------
    AceError
        If no observed set blocks every backdoor path (it names an open one), if no path leads from the treatment to
        the answer, or if it is no node.

    Notes
    -----
    If any set of observed variables that the treatment does not cause blocks every backdoor path, then so do all those
    that cause treatment or answer (van der Zander et al.), so there is nothing to search. Instruments cost precision
    (Henckel et al.).

    References
    ----------
    Pearl (2009), Causality, 3.3. van der Zander, Liskiewicz and Textor (2019), Separators and adjustment sets in causal
    graphs, Artificial Intelligence 270. Henckel, Perkovic and Maathuis (2022), Graphical criteria for efficient total
    effect estimation via adjustment in causal linear models, JRSS B 84(2).
    """
    _check_node(graph, treatment)
    if not nx.has_path(graph, treatment, ANSWER):
        raise AceError(
            "has no effect on the answer, says the declared graph",
            param=treatment,
            hint=f"no path of causes leads from {treatment} to {ANSWER}",
        )
    edges = _edges(graph)
    before = (set(graph.nodes) & set(observed)) - nx.descendants(graph, treatment) - {treatment, ANSWER}
    adjustment = before & (nx.ancestors(graph, treatment) | nx.ancestors(graph, ANSWER))
    if not _separates(edges, treatment, tuple(sorted(adjustment)), direct=False):
        raise _not_identified("total", graph, treatment, tuple(sorted(adjustment)))
    modifiers: list[str] = []
    for name in attributes:
        held = {*adjustment, *modifiers, name}
        if name in before and _separates(edges, treatment, tuple(sorted(held)), direct=False):
            modifiers.append(name)
    for name in sorted(adjustment):
        # next to the modifiers, since it may block a path that one of them opens
        others = {treatment, *adjustment, *modifiers} - {name}
        if nx.is_d_separator(graph, {name}, {ANSWER}, others):
            adjustment = adjustment - {name}
    return tuple(sorted(adjustment)), tuple(modifiers)


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
    graph.add_nodes_from((treatment, ANSWER, *held))  # those without edges
    without = do_surgery(
        graph,
        [treatment],
        remove_outgoing_edges=True,
        target_node_names=[ANSWER] if direct else None,
        remove_only_direct_edges_to_target=direct,
    )
    found = check_valid_backdoor_set(graph, [treatment], [ANSWER], set(held), new_graph=without)
    return bool(found["is_dseparated"])


def _not_identified(effect: str, graph: nx.DiGraph, treatment: str, held: tuple[str, ...]) -> AceError:
    """Build the error that names an open path, and what on it would have to be observed."""
    cut = graph.copy()
    cut.remove_edges_from(list(graph.out_edges(treatment)) if effect == "total" else [(treatment, ANSWER)])
    path = _open_path(cut, treatment, set(held))
    arrows = ["->" if cut.has_edge(start, end) else "<-" for start, end in pairwise(path)]
    words = [path[0], *(f"{arrow} {node}" for arrow, node in zip(arrows, path[1:], strict=True))]
    # what the treatment causes would not help against a backdoor path
    useless = nx.descendants(graph, treatment) if effect == "total" else set()
    missing = [
        node
        for node, (into, out) in zip(path[1:-1], pairwise(arrows), strict=True)
        if (into, out) != ("->", "<-") and node not in useless
    ]
    return AceError(
        f"the {effect} effect is not identified on the declared graph",
        param=treatment,
        got="open path " + " ".join(words),
        hint=f"the survey would have to observe {' or '.join(missing)}: an attribute or covariate of that name",
    )


def _open_path(graph: nx.DiGraph, start: str, held: set[str]) -> tuple[str, ...]:
    """Find the shortest path from `start` to the answer that `held` leaves open; there must be one.

    Breadth first over (node, whether the last arrow points at it), since the rule needs no more of the past. A shortest
    open walk never meets a node twice: a collider on the short cut would be an ancestor of `held`.
    """
    opened = held.union(*(nx.ancestors(graph, node) for node in held))
    paths: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[tuple[str, bool]] = set()
    while paths[0][-1] != ANSWER:
        path = paths.popleft()
        node = path[-1]
        for following in sorted({*graph.predecessors(node), *graph.successors(node)}):
            collider = len(path) > 1 and graph.has_edge(path[-2], node) and graph.has_edge(following, node)
            passes = node in opened if collider else node not in held
            state = following, graph.has_edge(node, following)
            if passes and state not in seen:
                seen.add(state)
                paths.append((*path, following))
    return paths[0]


def _read_dot(path: Path) -> nx.DiGraph:
    text = path.read_text(encoding="utf-8-sig")
    # pydot reads a -- b as a -> b and drops a <-> b
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|//[^\n]*|^\s*#[^\n]*', " ", text, flags=re.DOTALL | re.MULTILINE)
    if "<-" in bare:
        raise _no_arrow(path, "<->" if "<->" in bare else "<-")
    if "--" in bare:
        raise AceError("is not directed", param=str(path), hint="write digraph, and -> for edges")
    # pydot prints what is wrong, and calls pyparsing by old names
    with redirect_stdout(StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import pydot

        parsed = pydot.graph_from_dot_data(text)
    if not parsed:
        raise ValueError(printed.getvalue().strip().splitlines()[-1])
    if len(parsed) > 1:
        raise AceError("holds more than one graph", param=str(path), got=len(parsed))
    graph: nx.DiGraph = nx.DiGraph() if parsed[0].get_type() == "digraph" else nx.Graph()
    parts: list[pydot.Graph] = [parsed[0]]
    for part in parts:
        parts += part.get_subgraphs()
        graph.add_nodes_from(_dot_nodes(part.obj_dict))
        if any(_is_reversed(defaults) for defaults in part.get_edge_defaults()):
            raise _no_arrow(path, "edge [dir=...]")
        for edge in part.get_edges():
            if _is_reversed(edge.get_attributes()):
                raise _no_arrow(path, edge.to_string())
            causes, effects = map(_dot_ends, (edge.get_source(), edge.get_destination()))
            graph.add_edges_from((cause, effect) for cause in causes for effect in effects)
    return graph


def _dot_ends(end: Any) -> list[str]:
    """Name the nodes at one end of an edge: one, or those of a group in braces."""
    if isinstance(end, str):
        return [_dot_name(end)]
    if end["edges"] or end["subgraphs"]:
        raise ValueError("edges inside the braces at the end of an edge")
    return _dot_nodes(end)


def _dot_nodes(part: Any) -> list[str]:
    """Name the nodes written on their own in a graph or group, without the defaults that pydot keeps among them."""
    return [_dot_name(node) for node in part["nodes"] if node not in ("node", "edge", "graph")]


def _dot_name(text: str) -> str:
    """Take quotes, escapes and ports away."""
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', text)
    return quoted[1].replace('\\"', '"') if quoted else text.partition(":")[0]


def _is_reversed(attributes: dict[str, str]) -> bool:
    return attributes.get("dir", "forward").strip('"') != "forward"


def _no_arrow(path: Path, got: str) -> AceError:
    return AceError(
        "edges must point forward",
        param=str(path),
        expected="cause -> effect",
        got=got,
        hint="for a <-> b, write the unobserved common cause as a node: u -> a; u -> b",
    )


def _edges(graph: nx.DiGraph) -> Edges:
    return tuple(sorted(graph.edges))


def _check_acyclic(graph: nx.DiGraph, param: str) -> None:
    if not nx.is_directed_acyclic_graph(graph):
        cycle = [start for start, _ in nx.find_cycle(graph)]
        raise AceError("causes form a cycle", param=param, got=" -> ".join([*cycle, cycle[0]]))


def _check_node(graph: nx.DiGraph, treatment: str) -> None:
    nodes: Iterable[str] = graph.nodes
    if treatment not in nodes:
        raise unknown("graph, node", treatment, list(nodes))
