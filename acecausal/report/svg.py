"""From a Vega-Lite chart to SVG that stands in the page itself (no script, no network, no fonts), or to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import altair as alt
import vl_convert
from markupsafe import Markup

from acecausal.report.drawing import WIDER, Spec

#: Dots per inch of PNG pictures.
PPI = 300
_DROPPED = {"role", "aria-roledescription", "aria-hidden", "aria-label", "font-family", "pointer-events", "class"}


def render(spec: dict[str, Any], alt_text: str) -> Markup:
    """Draw a chart.

    Parameters
    ----------
    spec : dict
        A Vega-Lite specification.
    alt_text : str
        What the picture shows, for those who cannot see it.

    Returns
    -------
    markupsafe.Markup
        An ``<svg role="img" aria-label=...>`` element. It is parsed and written anew, so whatever a label holds ends as
        escaped text; the fonts are the page's; colours stay CSS variables, so that one drawing serves light and dark.
    """
    layers = [_cut_shorter(layer) for layer in spec["layer"]]
    text = vl_convert.vegalite_to_svg(spec | {"layer": layers}, vl_version=version(), allowed_base_urls=[])
    root = ET.fromstring(text)
    _strip(root)
    root.attrib.pop("version", None)
    root.set("role", "img")
    root.set("aria-label", alt_text)
    return Markup(ET.tostring(root, encoding="unicode"))


def write(spec: Spec, alt_text: str, path: Path, suffix: str) -> None:
    """Write a chart that stands alone to a file, as .svg (with a text for those who cannot see it) or .png."""
    if suffix == ".svg":
        drawn = vl_convert.vegalite_to_svg(spec, vl_version=version(), allowed_base_urls=[])
        path.write_text(drawn.replace("<svg ", f'<svg role="img" aria-label={quoteattr(alt_text)} ', 1), "utf-8")
    else:
        path.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=version(), ppi=PPI, allowed_base_urls=[]))


def _cut_shorter(layer: dict[str, Any]) -> dict[str, Any]:
    mark = layer["mark"]
    return layer | {"mark": mark | {"limit": mark["limit"] / WIDER}} if "limit" in mark else layer


def version() -> str:
    """Name the version of Vega-Lite that Altair writes, as vl-convert wants it."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _strip(element: ET.Element) -> None:
    """Drop namespaces (HTML needs none), fonts, inner roles, and what draws nothing."""
    element.tag = element.tag.rpartition("}")[2]
    for child in list(element):
        if child.get("class") in ("background", "foreground") and not child.get("stroke"):
            element.remove(child)
        else:
            _strip(child)
            if child.tag.endswith("g") and not len(child) and not child.text:
                element.remove(child)
    for name in list(element.attrib):
        if name in _DROPPED or name.startswith("{"):
            del element.attrib[name]
