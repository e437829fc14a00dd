"""Parts of a cube by name, as commands are told them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def select(
    cube: xr.Dataset,
    *,
    attributes: list[str],
    values: list[str],
    contexts: list[str],
    countries: list[str] | None = None,
) -> xr.Dataset:
    """Cut a cube to the named labels; an empty list means all. An attribute stands for all of its contrasts.

    Raises
    ------
    AceError
        If a name is not in the cube.
    """
    from acecausal.errors import unknown

    treatments, contrasts = cube["treatment"].values.tolist(), cube["attribute"].values.tolist()
    every = {dim: cube[dim].values.tolist() for dim in ("country", "value", "persona")}
    for wanted, option, known in (
        (countries or [], "--country", every["country"]),
        (attributes, "--attribute", [*dict.fromkeys(treatments), *contrasts]),
        (values, "--value", every["value"]),
        (contexts, "--context", every["persona"]),
    ):
        for name in wanted:
            if name not in known:
                raise unknown(option, name, known)
    moved = [c for c, t in zip(contrasts, treatments, strict=True) if not attributes or {c, t} & set(attributes)]
    return cube.sel(
        country=countries or every["country"],
        attribute=moved,
        value=values or every["value"],
        persona=contexts or every["persona"],
    )
