"""Whether what was loaded is what was to be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acecausal.errors import ModelError


def check_loading(found: dict[str, Any], param: str, source: str | Path) -> None:
    """Refuse weights that do not fill the model, or that it has no place for.

    Transformers would make up what is missing, and drop what has no place.

    Parameters
    ----------
    found : dict
        What `from_pretrained` says with ``output_loading_info``.
    param, source
        For the message.

    Raises
    ------
    ModelError
    """
    told = [
        f"{len(names)} {what} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})"
        for what in ("missing", "unexpected", "mismatched")
        if (names := sorted(map(str, found.get(f"{what}_keys") or ())))
    ]
    told += [str(message).splitlines()[0] for message in found.get("error_msgs") or ()]
    if told:
        raise ModelError(
            "the weights are not those of the model that the configuration describes", param=param,
            got=f"{source}: {'; '.join(told)}",
        )  # fmt: skip


def reason_of(error: Exception, source: str | Path) -> str:
    """Say on one line what a library said of a model."""
    lines = str(error).strip().splitlines()
    return f"{source} ({type(error).__name__}: {lines[0] if lines else ''})"
