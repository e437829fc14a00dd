"""The errors a user can cause. The command line turns each into one message and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AceError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    param : str
        The parameter, file, column or key that is wrong.
    expected, got : object
        What would have been right, and what was there.
    hint : str
        The next thing to try.
    """

    exit_code = 1

    def __init__(
        self, message: str = "", *, param: str = "", expected: object = "", got: object = "", hint: str = ""
    ) -> None:
        self.message, self.param, self.expected, self.got, self.hint = message, param, expected, got, hint
        head = f"{param}: {message}" if param and message else (param or message)
        details = [
            f"  {key}: {text}" for key, text in (("expected", expected), ("got", got), ("hint", hint)) if text != ""
        ]
        super().__init__("\n".join([head, *details]))


class CodebookError(AceError):
    """A codebook that cannot be read, or that contradicts itself."""


class DataError(AceError):
    """Survey data that cannot be read, or that contradicts the codebook."""


class CubeError(AceError):
    """A file that is no cube, a cube of another schema version, or one that breaks the schema."""


class ModelError(AceError):
    """A language model that cannot be loaded or asked."""


def unknown(param: str, got: object, known: Iterable[object], error: type[AceError] = AceError) -> AceError:
    """Build the error for a name that is not among the known ones, with the closest one as the hint."""
    names = [str(name) for name in known]
    close = get_close_matches(str(got), names, n=1, cutoff=0.5)
    shown = ", ".join(names[:12]) + (f" ... ({len(names)} in all)" if len(names) > 12 else "")
    return error(
        "unknown name",
        param=param,
        expected=f"one of {shown}" if names else "(there are none)",
        got=repr(got),
        hint=f"did you mean {close[0]!r}?" if close else "",
    )
