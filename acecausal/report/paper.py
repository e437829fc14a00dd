"""For papers: tables and methods as Markdown or LaTeX, all effects as CSV, every picture as SVG or PNG."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.comparison.pooling import pooled
from acecausal.cube.doubts import strangers
from acecausal.report import cells, facts, finding, forest, methods, notebook, overview, page, parts, svg, words
from acecausal.report import drawing as d

#: Columns of words, and their widths in LaTeX as shares of the line.
_WORDS = {"Country": 0.14, "Contrast": 0.19, "Answer": 0.14, "Question": 0.95, "Attribute": 0.2, "Measure": 0.42}
_COLOURS = {"accent": "blue", "contrast": "orange", "muted": "grey", "ink": "black"}
_TEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"−": "$-$", "→": r"$\rightarrow$", "²": "$^2$", "≥": r"$\geq$", "·": r"$\cdot$", "<": "$<$", ">": "$>$"},
    **{"\u2068": "", "\u2069": ""},
}


# --- what is said -----------------------------------------------------------------------------------------------------


def effects(human: xr.Dataset, models: d.Models) -> pd.DataFrame:
    """Tabulate the estimated effects on everybody for readers: texts, numbers rounded to three digits."""
    names = words.Names(human)
    where = np.nonzero(cells.scored(human) & (human["persona"].values == "all"))
    frame = facts.rows(human, where, models)
    level = f"{100 * float(human.attrs.get('confidence', 0.95)):g} % interval"
    interval = zip(frame["conf_low"], frame["conf_high"], strict=True)
    columns: dict[str, Any] = {
        "Country": [names.countries[c] for c in where[0]],
        "Contrast": [names.contrast(int(a)) for a in where[1]],
        "Question": [names.questions[v] for v in where[2]],
        "Effect": [words.signed(x, 3) for x in frame["estimate"]],
        level: [f"[{words.signed(low, 3)}, {words.signed(high, 3)}]" for low, high in interval],
        "q": [words.small(q) for q in frame["q_value"]],
        "n": [f"{n:,}" for n in frame["n"]],
    }
    for i, label in enumerate(models):
        columns[words.clean(label)] = [words.signed(x, 3) for x in frame[f"m{i}"]]
    return pd.DataFrame(columns)


def shifts(human: xr.Dataset, models: d.Models) -> pd.DataFrame:
    """Tabulate for readers how the options of values without an order move, among everybody; maybe empty."""
    names = words.Names(human)
    frame = names.labelled(facts.unordered(human, models))
    level = f"{100 * float(human.attrs.get('confidence', 0.95)):g} % interval"
    interval = zip(frame["conf_low"], frame["conf_high"], strict=True)
    columns: dict[str, Any] = {
        "Country": frame["country_label"],
        "Contrast": frame["contrast_label"],
        "Question": frame["question"],
        "Answer": [words.clean(label) for label in frame["option_label"]],
        "Shift": [words.signed(x, 3) for x in frame["estimate"]],
        level: [f"[{words.signed(low, 3)}, {words.signed(high, 3)}]" for low, high in interval],
        "q of all": [words.small(q) for q in frame["q_value"]],
        "n": [f"{n:,}" for n in frame["n"]],
    }
    for i, label in enumerate(models):
        columns[words.clean(label)] = [words.signed(x, 3) for x in frame[f"m{i}"]]
    return pd.DataFrame(columns)


def means(human: xr.Dataset) -> pd.DataFrame | None:
    """Tabulate the effects pooled over countries; None if no effect has two of them."""
    if human.sizes["country"] < 2:
        return None
    names = words.Names(human)
    found = pooled(human.sel(persona=["all"])).isel(persona=0)
    at = np.nonzero((found["k"].values > 1) & np.isfinite(found["effect"].values))
    if not len(at[0]):
        return None
    low, high = found["lower"].values[at], found["upper"].values[at]
    return pd.DataFrame(
        {
            "Contrast": [names.contrast(int(a)) for a in at[0]],
            "Question": [names.questions[v] for v in at[1]],
            "Mean effect": [words.signed(x, 3) for x in found["effect"].values[at]],
            "Interval": [f"[{words.signed(a, 3)}, {words.signed(b, 3)}]" for a, b in zip(low, high, strict=True)],
            "I²": [f"{100 * x:.0f} %" for x in found["i2"].values[at]],
            "tau": [words.plain(x**0.5, 3) for x in found["tau2"].values[at]],
            "Countries": [str(int(k)) for k in found["k"].values[at]],
        }
    )


def note(human: xr.Dataset, models: d.Models) -> str:
    """Say under a table what its numbers are: estimand, estimator, design, family of q, n."""
    attrs = {str(name): methods.decode(value) for name, value in human.attrs.items()}
    said = ["Effects are changes of the mean score (0..1) among everybody in a country"]
    said += [f"{name} {attrs[name]}" for name in ("estimand", "estimator", "weights") if attrs.get(name)]
    design = attrs.get("design")
    if isinstance(design, dict):
        said += [f"{name} {design[name]}" for name in ("stratum", "psu", "standard_errors") if name in design]
    if "q_family" in attrs:
        said.append(f"q: Benjamini-Hochberg over {attrs['q_family']}")
    said += ["n: people the effect speaks for", *(f"{words.clean(label)}: effects of that model" for label in models)]
    return "; ".join(said).replace("_", " ") + "."


def _tables(
    human: xr.Dataset, models: d.Models, comparisons: Mapping[str, Any]
) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Give title, table and note of everything that is tabulated."""
    only = f": {words.Names(human).questions[0]}" if human.sizes["value"] == 1 else ""  # said once, not in every row
    unsaid = ["Question"] if only else []
    scored = effects(human, models)
    if len(scored):
        yield f"Effects by country{only}", scored.drop(columns=unsaid), note(human, models)
    moved = shifts(human, models)
    if len(moved):
        text = "Changes of each answer's share (0..1) among everybody; q: of no answer's share moving (Wald test)."
        yield f"Shifts of answers without an order{only}", moved.drop(columns=unsaid), text
    overall = means(human)
    if overall is not None:
        text = "Random effects; tau: standard deviation of true effects."
        yield f"Effects pooled over countries{only}", overall.drop(columns=unsaid), text
    sizes = overview.table(human, models)
    if len(sizes):
        labels = words.Names(human).attributes
        shown = sizes.assign(attribute=[labels[name] for name in sizes["attribute"]])
        for name in shown.columns[2:-2]:
            shown[name] = [words.plain(x, 3) for x in shown[name]]
        text = (
            "Root mean square effect on everybody, sampling noise taken off; a model's is people's times its slope, "
            "the size of its effects their own root mean square."
        )
        yield "Root mean square of effects", shown.rename(columns=overview.renamed(models)).astype(str), text
    if models:
        compared = page.comparison_table(comparisons)
        frame = pd.DataFrame(compared.rows, columns=list(compared.columns))
        yield "Model against people", frame, "Skill: 1 − (distance − ceiling) / (null − ceiling)."


def markdown(human: xr.Dataset, models: d.Models) -> str:
    """Write findings, tables and methods as Markdown (pipe tables)."""
    lines = [f"# {words.clean(human.attrs.get('title') or 'Effects on survey answers')}", ""]
    compared = page.compared(human, models)
    lines += [_md(text) + "\n" for text in [*finding.sentences(human), *finding.verdicts(compared)]]
    for title, frame, text in _tables(human, models, compared):
        lines += [f"## {_md(title)}", "", _md_table(frame), "", _md(text), ""]
    lines += ["## Methods", "", *(_md(text) + "\n" for text in methods.paragraphs(human))]
    return "\n".join(lines)


def _md(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", _clean(text))


def _clean(text: str) -> str:
    """Clean a sentence, but leave the labels in it isolated one by one, as they were when it was made."""
    made = []
    for piece in re.split("(\u2068[^\u2068\u2069]*\u2069)", text):
        inner = words.clean(piece)
        before, after = (" " * (edge.isspace() and bool(inner)) for edge in (piece[:1], piece[-1:]))
        made.append(f"{before}{inner}{after}" if inner else " " * piece.isspace())
    return "".join(made).strip()


def _md_table(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), *frame.to_numpy(dtype=object).tolist()]
    lines = ["| " + " | ".join(_md(str(entry)) for entry in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(frame.columns), *lines[1:]])


def latex(human: xr.Dataset, models: d.Models) -> str:
    """Write tables and methods as LaTeX to be included: packages booktabs and longtable."""
    lines = [r"% \usepackage{booktabs,longtable}; other scripts than Latin need LuaLaTeX or XeLaTeX"]
    lines += [r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}\setlength{\LTleft}{0pt}"]
    for title, frame, text in _tables(human, models, page.compared(human, models)):
        questions = frame["Question"].to_numpy() if "Question" in frame else np.full(len(frame), "")
        order = np.argsort(pd.factorize(questions)[0], kind="stable")  # a question stands once, above its rows
        body = frame.drop(columns="Question", errors="ignore")
        n_words = sum(str(name).capitalize() in _WORDS for name in body)
        widths = "".join(f"p{{{_WORDS[str(name).capitalize()]}\\linewidth}}" for name in body.columns[:n_words])
        head = " & ".join(_tex(str(name)) for name in body.columns) + r" \tabularnewline"
        lines += [
            f"\\begin{{longtable}}{{{widths + 'r' * (len(body.columns) - n_words)}}}",
            f"\\caption{{{_tex(title)}}}\\tabularnewline",
            *(r"\toprule", head, r"\midrule", r"\endfirsthead"),
            *(r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"),
        ]
        last = ""
        for question, row in zip(questions[order], body.to_numpy(dtype=object)[order], strict=True):
            if question != last:
                width = f"{{{len(body.columns)}}}{{p{{0.95\\linewidth}}}}"
                lines.append(f"\\multicolumn{width}{{\\emph{{{_tex(question)}}}}} \\tabularnewline")
                last = question
            lines.append(" & ".join(_tex(str(entry)) for entry in row) + r" \tabularnewline")
        lines += [r"\end{longtable}", r"\noindent " + _tex(text), ""]
    lines.append(r"\endgroup")
    return "\n".join(
        [*lines, r"\paragraph{Methods.}", *(_tex(_brief(text)) + "\n" for text in methods.paragraphs(human))]
    )


def _brief(text: str) -> str:
    """Shorten hashes, which no line of a paper can hold."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1...", text)


def _tex(text: str) -> str:
    return "".join(_TEX.get(char, char) for char in words.clean(text))


def table(human: xr.Dataset, models: d.Models) -> str:
    """Write every estimated effect as CSV: broom's names, unrounded, with models, estimand, estimator and design.

    Values without an order have no effect, but a row per option, with its shift.
    """
    frame = facts.rows(human, np.nonzero(cells.scored(human)), models)
    moved = facts.unordered(human, models, everywhere=True)
    if len(moved):
        frame = pd.concat([frame.assign(option=pd.NA, option_label=""), moved.drop(columns=["band_low", "band_high"])])
        names = [name for name in frame if not name.startswith("option")]
        frame = frame[[*names[:4], "option", "option_label", *names[4:]]]
    frame = frame.rename(columns=forest.renamed(models) | facts.PUBLIC)
    added = strangers(human)
    for name in ("estimand", "estimator", "weights", "design"):
        known = ~(frame["country"].isin(added) | frame["value"].isin(added))
        frame[name] = np.where(known, str(human.attrs.get(name, "")), "")
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text


# --- pictures ---------------------------------------------------------------------------------------------------------


def pictures(human: xr.Dataset, models: d.Models) -> Iterator[tuple[str, parts.Figure, parts.Panel]]:
    """Give the pictures of the page one by one with a name for each: section, figure, panel."""
    compared = page.compared(human, models)
    first = overview.figure(human, models)
    groups = {"overview": [first] if first else []}
    for section in page.sections(human, models, compared):
        # what a section leaves out is said above it on the page; a picture alone has only its caption
        groups[section.key] = [
            replace(
                f,
                title=f.title or ("" if f.panels[0].title else section.title),
                how=f"{f.how} {section.intro}".strip(),
            )
            for f in section.figures
        ]
    for key, figures in groups.items():
        for i, figure in enumerate(figures, 1):
            for j, panel in enumerate(figure.panels, 1):
                yield f"{key}-{i}" + (f"-{j}" if len(figure.panels) > 1 else ""), figure, panel


def write_pictures(human: xr.Dataset, models: d.Models, folder: Path, kind: str) -> None:
    """Write every picture of the page, and ``captions.md`` with its title, caption and legend.

    Parameters
    ----------
    human, models
        Cubes.
    folder : pathlib.Path
        An empty folder.
    kind : {'svg', 'png'}
    """
    lines = []
    for name, figure, panel in pictures(human, models):
        path = folder / f"{name}.{kind}"
        svg.write(notebook.titled(panel.wide, [figure.title, panel.title]), panel.alt_text, path, path.suffix)
        legend = "; ".join(_legend(key) for key in figure.legend)
        title = ": ".join(text for text in (figure.title, panel.title) if text) or _FIRST
        lines += [
            f"## {path.name}",
            "",
            _md(title),
            "",
            _md(f"{figure.caption} {figure.how}".strip() + f" Legend: {legend}."),
            "",
        ]
    (folder / "captions.md").write_text("\n".join(lines), "utf-8")


#: Title of the only picture that has none on the page, where it stands below the finding.
_FIRST = "Root mean square of each attribute's effects, by country"


def _legend(key: parts.Key) -> str:
    shape, colour, _, text = key
    return f"{colour} {text}" if shape == "sign" else f"{_COLOURS[colour]} {shape}: {text}"


#: Text formats by suffix.
TEXTS: Mapping[str, Any] = {"md": markdown, "tex": latex, "csv": table}
