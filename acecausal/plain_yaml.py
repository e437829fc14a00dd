"""YAML as people mean it: NO is Norway, 007 a text; what cannot be read is one message with its line."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from acecausal.errors import AceError

#: Lists and mappings within one another, more than anybody writes and fewer than Python's stack holds.
DEEPEST = 100
#: Half of a character beyond 16 bits, as escapes can write it.
_HALF = re.compile(r"[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """A SafeLoader of YAML 1.2's scalars, in which a key may stand once.

    Only true and false are booleans. Only plain decimals are numbers: YAML 1.1 reads 010 as eight, 1_0 as ten and 1:30
    as ninety. 1e3 is a text, here as there.
    """

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("bool", "int", "float")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", self.peek_event().start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            tag = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{str(node.value)[:40]!r} is no {tag}", node.start_mark
            ) from error

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        """Give the text, in which pairs of escapes are one character, as in JSON."""
        text: str = super().construct_scalar(node)
        half = _HALF.search(text)
        if half:
            try:
                return text.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                said = f"half a character (\\u{ord(half[0]):x})"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from None
        return text

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what is merged; each key once, or mappings that merge one another ten times would grow tenfold."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a list or mapping as key", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        super().flatten_mapping(node)
        node.value = list({key.value: (key, value) for key, value in node.value}.values())


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^-?(?:(?:0|[1-9][0-9]*)\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+|\.(?:inf|nan))$"),
    list("-.0123456789"),
)


class _Texts(_Loader):
    """The same, in which every scalar stays the text that it is."""

    yaml_implicit_resolvers: ClassVar = {}


def read_yaml(text: str, param: str, error: type[AceError] = AceError, *, texts: bool = False) -> Any:
    """Read a YAML document.

    Parameters
    ----------
    text : str
    param : str
        What to call it in messages.
    error : subclass of AceError
        What is raised.
    texts : bool
        Whether all scalars stay texts.

    Raises
    ------
    AceError
        If it is not YAML, holds what its tag or spelling says it is not (9999-99-99 is no date), is nested too deeply,
        or a key stands twice. With the line.
    """
    try:
        return yaml.load(text, _Texts if texts else _Loader)  # SafeLoaders
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        said = " ".join((getattr(problem, "problem", None) or str(problem)).split())
        raise error(
            "not valid YAML",
            param=param,
            got=f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said,
            hint=_hint(said),
        ) from problem


def _hint(said: str) -> str:
    """Say what helps against what YAML's reader says."""
    if " is no " in said:
        return "a text that looks like a date or a number is put in quotes"
    if said.startswith("expected ',' or "):
        return "within {} and [] a text with any of , : ? { } [ ] is put in quotes"
    return ""
