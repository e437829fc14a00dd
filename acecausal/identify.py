"""Identification: what must be held fixed, by DoWhy on the declared graph. The only module that imports dowhy."""

from __future__ import annotations

import json
from collections.abc import Iterable

import networkx as nx

from acecausal.codebook import Codebook
from acecausal.errors import AceError

ANSWER = "answer"


def causal_graph(codebook: Codebook) -> nx.DiGraph:
    """Build the graph the codebook declares: parents to attributes, and everything to the answer."""
    graph = nx.DiGraph()
    for name in (*codebook.attributes, *codebook.covariates):
        graph.add_edge(name, ANSWER)
    for name, attribute in codebook.attributes.items():
        graph.add_edges_from((parent, name) for parent in attribute.parents)
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " -> ".join(start for start, _ in nx.find_cycle(graph))
        raise AceError("the parents of the attributes form a cycle", param="codebook", got=cycle)
    return graph


def direct_adjustment(graph: nx.DiGraph, treatment: str) -> tuple[str, ...]:
    """Find what to hold fixed for the controlled direct effect of `treatment` on the answer.

    Parameters
    ----------
    graph : networkx.DiGraph
        Acyclic, with a node `answer`; every other node is observed.
    treatment : str

    Returns
    -------
    tuple of str
        All other nodes, sorted: a persona edit holds mediators, common causes and everything else fixed.

    Raises
    ------
    AceError
        If DoWhy finds that this set does not separate the treatment from the answer but for the direct edge.

    References
    ----------
    VanderWeele (2011), Controlled direct and mediated effects, Scandinavian Journal of Statistics 38(3).
    """
    from dowhy.causal_identifier.auto_identifier import check_valid_backdoor_set
    from dowhy.graph import do_surgery

    held = set(graph.nodes) - {treatment, ANSWER}
    without = do_surgery(
        graph,
        [treatment],
        remove_outgoing_edges=True,
        target_node_names=[ANSWER],
        remove_only_direct_edges_to_target=True,
    )
    if not check_valid_backdoor_set(graph, [treatment], [ANSWER], held, new_graph=without)["is_dseparated"]:
        raise AceError(
            "the direct effect is not identified on the declared graph",
            param=treatment,
            hint="check the parents in the codebook",
        )
    return tuple(sorted(held))


def graph_json(graph: nx.DiGraph) -> str:
    """Write the graph as a JSON list of edges, for the cube's attrs."""
    edges: Iterable[tuple[str, str]] = graph.edges
    return json.dumps(sorted(map(list, edges)))
