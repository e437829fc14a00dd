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
        The largest valid adjustment set, sorted: mediators and common causes alike, since a persona edit holds
        all other attributes fixed.

    Raises
    ------
    AceError
        If DoWhy finds no valid set.

    References
    ----------
    VanderWeele (2011), Controlled direct and mediated effects, Scandinavian Journal of Statistics 38(3).
    """
    from dowhy.causal_identifier.auto_identifier import BackdoorAdjustment, EstimandType, identify_effect_auto

    if graph.number_of_nodes() == 2:
        return ()  # one attribute alone: nothing to hold fixed
    identified = identify_effect_auto(
        graph,
        [treatment],
        [ANSWER],
        sorted(graph.nodes),
        EstimandType.NONPARAMETRIC_CDE,
        backdoor_adjustment=BackdoorAdjustment.BACKDOOR_MAX,
    )
    found = identified.get_backdoor_variables()
    if found is None:
        raise AceError(
            "the direct effect is not identified on the declared graph",
            param=treatment,
            hint="check the parents in the codebook",
        )
    return tuple(sorted(found))


def graph_json(graph: nx.DiGraph) -> str:
    """Write the graph as a JSON list of edges, for the cube's attrs."""
    edges: Iterable[tuple[str, str]] = graph.edges
    return json.dumps(sorted(map(list, edges)))
