"""What the user says beside the files, and what comes of an import."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import xarray as xr

from acecausal.errors import AceError


@dataclass(frozen=True, slots=True)
class Choices:
    """What the files of other programs do not say.

    Attributes
    ----------
    baselines : dict of str to str
        Attribute to the level that its effects are moves away from; by default the first level as written.
    nominal : tuple of str
        Values (or question ids) whose options have no order.
    ordinal : tuple of str
        Those whose options have the order in which they are listed, whatever the format says or its reader knows.
    keep_refusals : bool
        Whether "Not sure", "Refused" and the like are an option (opinionqa) or left out of the shares.
    attributes : tuple of str
        Names of the parts of a cell's id (popfidelity without facets.yaml).
    respondents : int, optional
        People behind each group, where the format has no number.
    country : str
        Label of the country, where the format has none.
    source : str
        Which source of a table of cells to read, where it has several.
    min_arm : int
        Fewest respondents per arm for an estimate.
    confidence : float
        Of intervals and bands.
    keep_going : bool
        Whether to pass over what is wrong, and import the rest.
    """

    baselines: dict[str, str] = field(default_factory=dict)
    nominal: tuple[str, ...] = ()
    ordinal: tuple[str, ...] = ()
    keep_refusals: bool = False
    attributes: tuple[str, ...] = ()
    respondents: int | None = None
    country: str = ""
    source: str = ""
    min_arm: int = 30
    confidence: float = 0.95
    keep_going: bool = False

    def __post_init__(self) -> None:
        if self.min_arm < 2:
            raise AceError("out of range", param="--min-arm", expected="2 or more", got=self.min_arm)
        if not 0 < self.confidence < 1:
            raise AceError("out of range", param="--confidence", expected="between 0 and 1", got=self.confidence)
        if self.respondents is not None and self.respondents < 1:
            raise AceError("out of range", param="--respondents", expected="1 or more", got=self.respondents)
        if both := sorted(set(self.nominal) & set(self.ordinal)):
            raise AceError("contradict each other", param="--nominal, --ordinal", expected="one of them", got=both[0])


@dataclass(frozen=True, slots=True)
class Imported:
    """A cube made of another program's files.

    Attributes
    ----------
    cube : xarray.Dataset
    noted : dict of str to int
        What a reader of the cube should know, with counts.
    problems : list of AceError
        What was passed over.
    """

    cube: xr.Dataset
    noted: dict[str, int]
    problems: list[AceError]


class Log:
    """Collects what is noted and what is wrong during one import.

    Parameters
    ----------
    keep_going : bool
        If not set, the first problem is raised.
    """

    def __init__(self, keep_going: bool) -> None:
        self.keep_going = keep_going
        self.noted: Counter[str] = Counter()
        self.problems: list[AceError] = []

    def problem(self, error: AceError) -> None:
        """Raise the error, or keep it and go on."""
        if not self.keep_going:
            raise error
        self.problems.append(error)
