"""What ``cube.ace`` offers: tables under broom's column names, pooled effects, the report's pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.cube import schema
from acecausal.errors import AceError, CubeError, unknown
from acecausal.report import cells, facts

if TYPE_CHECKING:
    import altair as alt


class AceAccessor:
    """Tables and pictures of a cube.

    Parameters
    ----------
    cube : xarray.Dataset
        A cube, or a selection that keeps the dimensions country, attribute, value and persona.
    """

    def __init__(self, cube: xr.Dataset) -> None:
        self._cube = cube

    def table(self, by: str = "effect", *, all_edges: bool = False) -> pd.DataFrame:
        """List the cube's estimates, in the cube's order, under the column names of R's broom.

        Parameters
        ----------
        by : {'effect', 'option'}
            One row per cell, with its effect on the 0..1 score (missing for nominal values, whose p- and q-value are of
            all their shifts at once), or one row per cell and option, with its shift in probability.
        all_edges : bool
            Whether to list every existing edge of the lattice, or only those with status ok.

        Returns
        -------
        pandas.DataFrame
            country, attribute, value, context: labels of the cube; term: the contrast again, where broom's readers look
            for it; option, option_label (`by` option only); estimate, std.error; statistic (estimate / std.error),
            p.value, q.value (`by` effect only); conf.low, conf.high: pointwise interval at the cube's level; band.low,
            band.high (`by` option only): band that holds all options of the cell at once; joint.p.value, joint.q.value
            (`by` option only): of all shifts of a nominal value being 0, missing for the others; n: the people that the
            effect speaks for, n_baseline, n_treated: those of the arms; estimate.in.unit, unit (`by` effect only): what
            the estimate is in the unit of a continuous value; status, and the reason behind it. What a cube does not
            have is no column: a model's has neither errors nor arms.

        Raises
        ------
        AceError
            If `by` is something else.
        CubeError
            If it is no cube, or a dimension is gone.

        Notes
        -----
        The pointwise interval of a shift has the critical value of its cell's effect, half the effect's interval over
        its standard error; of a nominal value, which has none, that of its own degrees of freedom.
        """
        if by not in ("effect", "option"):
            raise unknown("by", by, ("effect", "option"))
        cube = self._checked()
        status = cube["status"].values
        keep = status != schema.NOT_APPLICABLE if all_edges else status == schema.OK
        if by == "option":  # of numbers the mean moves, and no share
            keep &= (cube["scale"].values != "continuous")[:, None]
        at = np.nonzero(keep)
        table = facts.rows(cube, at) if by == "effect" else facts.shifts(cube, at)
        of = at if by == "effect" else tuple(np.repeat(where, cube["n_options"].values[at[2]]) for where in at)
        table["status"] = np.array(schema.STATUS, dtype=object)[status[of]]
        if "reason" in cube:
            table["reason"] = np.array(schema.REASONS, dtype=object)[cube["reason"].values[of]]
        table.insert(4, "term", table["contrast"])
        if "p_value" in table and by == "effect":
            with np.errstate(divide="ignore", invalid="ignore"):
                table.insert(table.columns.get_loc("p_value"), "statistic", table["estimate"] / table["std_error"])
        if "p_value" in table and by == "option":  # of the cell, where it has no effect that they could be of
            table = table.rename(columns={f"{name}_value": f"joint.{name}.value" for name in "pq"})
            table.loc[~cells.nominal(cube)[of[2]], ["joint.p.value", "joint.q.value"]] = np.nan
        return table.rename(columns=facts.PUBLIC)

    def significant(self, q: float = 0.05) -> pd.DataFrame:
        """List the effects with a q-value below `q`, the largest first; then nominal values that move, without effect.

        Parameters
        ----------
        q : float
            False discovery rate within the family named in the cube's attrs, above 0 and at most 1.

        Raises
        ------
        AceError
            If `q` is out of range.
        CubeError
            If it is a model's cube: it has no q-values.
        """
        if not 0 < q <= 1:
            raise AceError("out of range", param="q", expected="above 0, at most 1", got=q)
        self._checked(survey=True)
        rows = self.table()
        rows = rows[rows["q.value"] < q]
        return rows.sort_values("estimate", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def pooled(
        self, min_countries: int = 2, by: str = "effect", population: Mapping[str, float] | None = None
    ) -> xr.Dataset:
        """Pool the effects, or the shifts by option, over countries; see `acecausal.comparison.pooling.pooled`."""
        from acecausal.comparison.pooling import pooled

        return pooled(self._cube, min_countries, by, population)

    def forest(self, value: str, attribute: str, context: str = "all", *, width: int = 700) -> alt.LayerChart:
        """Draw one effect country by country with intervals, and below them the pooled one.

        Parameters
        ----------
        value, attribute, context : str
            Labels of the cube; `attribute` is a contrast, as ``gender:female``.
        width : int
            Pixels.

        Returns
        -------
        altair.LayerChart
            A point per country, filled where q is below 0.05; the diamond spans the pooled effect's interval, the
            dashed line the prediction interval for a further country.

        Raises
        ------
        AceError
            If a name is unknown, the value is nominal, or the context fixes the contrast's attribute.
        CubeError
            If it is a model's cube.
        """
        from acecausal.report import notebook

        cube = self._checked(survey=True)
        self._known(value=value, attribute=attribute, persona=context)
        part = cube.sel(value=[value], attribute=[attribute], persona=[context])
        if part["scale"].item() == "nominal":
            raise AceError("is nominal: it has no score, hence no effect", param="value", got=value)
        if (part["status"] == schema.NOT_APPLICABLE).all():
            raise AceError(
                "no such edge in the lattice",
                param="context",
                expected=f"one that leaves {part['treatment'].item()} open, within the lattice's depth",
                got=context,
            )
        return notebook.forest(part, width)

    def heatmap(self, attribute: str, context: str = "all", *, width: int = 700) -> alt.LayerChart:
        """Draw the effects of one contrast: values in rows, countries in columns.

        Parameters
        ----------
        attribute, context : str
            Labels of the cube; `attribute` is a contrast, as ``gender:female``.
        width : int
            Pixels; many countries make it wider.

        Returns
        -------
        altair.LayerChart
            The stronger the colour, the larger the effect; pale where q is 0.05 or more, a sign where there is no
            estimate.

        Raises
        ------
        AceError
            If a name is unknown.
        CubeError
            If it is a model's cube.
        """
        from acecausal.report import notebook

        cube = self._checked(survey=True)
        self._known(attribute=attribute, persona=context)
        return notebook.heatmap(cube.sel(attribute=[attribute], persona=[context]), width)

    def lattice(self, value: str, country: str, *, width: int = 720) -> alt.LayerChart:
        """Draw the personas of one question in one country, and the effects between them.

        Parameters
        ----------
        value, country : str
            Labels of the cube.
        width : int
            Pixels.

        Returns
        -------
        altair.LayerChart
            A dot per persona with its mean score, a column per number of attributes (as many as give no more than 44
            personas), an arc per effect.

        Raises
        ------
        AceError
            If a name is unknown.
        CubeError
            If a persona of the lattice, or a dimension, is gone.
        """
        from acecausal.report import notebook

        cube = self._checked()
        self._known(value=value, country=country)
        if "all" not in cube["persona"].values:
            raise CubeError("missing", param="persona all", hint="draw the lattice of a cube with all its personas")
        return notebook.lattice(cube.sel(value=[value], country=[country]), width)

    def versus(self, model: xr.Dataset, *, width: int = 480) -> alt.LayerChart:
        """Draw a model's effects against people's, over every edge that both cubes have.

        Parameters
        ----------
        model : xarray.Dataset
            A model's cube.
        width : int
            Pixels; the picture is square but for its margins.

        Returns
        -------
        altair.LayerChart
            A dot per edge with people's interval; dashed: where the model moves as people do; solid: the slope
            corrected for sampling error.

        Raises
        ------
        CubeError
            If this is a model's cube or `model` is none, or they share nothing.
        """
        from acecausal.report import notebook

        people = self._checked(survey=True)
        if "kind" not in model.attrs or model.attrs["kind"] != "model":
            raise CubeError("is a cube of another kind", param="model", expected="model", got=model.attrs.get("kind"))
        return notebook.versus(people, model, width)

    def _known(self, **labels: str) -> None:
        """Refuse labels that the cube does not have."""
        for dim, label in labels.items():
            if label not in self._cube[dim].values:
                raise unknown("context" if dim == "persona" else dim, label, self._cube[dim].values)

    def _checked(self, *, survey: bool = False) -> xr.Dataset:
        """Return the cube, if it is one (of a survey) with all its dimensions."""
        cube = self._cube
        if "kind" not in cube.attrs or "status" not in cube:
            raise CubeError("not an acecausal cube", param="ace", hint="cubes come from estimate, elicit and open_cube")
        for dim in schema.EDGE:
            if dim not in cube.dims:
                raise CubeError(
                    "missing", param=f"dimension {dim}", hint=f"select with a list, as in cube.sel({dim}=[...])"
                )
        if survey and cube.attrs["kind"] != "survey":
            raise CubeError("has no standard errors", param="cube", expected="a survey cube", got="a model cube")
        return cube
