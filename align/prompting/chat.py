"""Chat templates: tried out first, asked not to think, and what they write held against what was meant."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from acecausal.errors import AceError, ModelError

#: What a template is told that asks for the date: the same prompt on every day.
DATE = date(2025, 1, 1)
#: The names by which templates are asked not to think (Qwen, SmolLM, GLM; Granite, DeepSeek).
NOT_THINKING: Mapping[str, Any] = MappingProxyType({"enable_thinking": False, "thinking": False})

#: What a template may take when it is tried out: seconds of computing, bytes of memory, characters written.
SECONDS, MEMORY, CHARACTERS = 5, 2 << 30, 1 << 20
#: Seconds after which a try is given up even if it computes nothing.
PATIENCE = 120

_SYSTEM, _USER, _ANSWER = "Trial of the system text.", "Trial of the question?\nTrial of the person", "Trialanswer"

# A template is a program of somebody else's, and one that does not end cannot be stopped within this process.
_TRIAL = """
import json, resource, sys
from transformers.utils.chat_template_utils import render_jinja_template
asked = json.load(sys.stdin)
used = resource.getrusage(resource.RUSAGE_SELF)
seconds = int(used.ru_utime + used.ru_stime) + asked["seconds"]
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
try:
    with open("/proc/self/statm") as pages:
        held = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + asked["memory"],) * 2)
except OSError:
    pass
said = []
for turns, answered in asked["turns"]:
    try:
        text = render_jinja_template([turns], chat_template=asked["template"], add_generation_prompt=not answered,
                                     **asked["names"])[0][0]
        long = len(text) > asked["characters"]
        said.append({"problem": f"writes {len(text)} characters"} if long else {"text": text})
    except Exception as error:
        said.append({"problem": f"raises {type(error).__name__}: {error}"[:300]})
json.dump(said, sys.stdout)
"""

_INSIDE = r"[^<>\[\]◁▷\n]{0,30}"
_WORDS = r"think|thought|reason|scratch|reflect|monologue|deliberat|rationale|(?<![a-z])(?:analysis|plan|cot)(?![a-z])"
_THOUGHTS = rf"{_INSIDE}(?:{_WORDS}){_INSIDE}[>\]▷]"
_OPENED = re.compile(rf"<\|?channel\|?>\s*(?:analysis|thought)|[<\[◁](?!\|?(?:/|end)){_THOUGHTS}", re.IGNORECASE)
_CLOSED = re.compile(rf"<channel\|>|<\|end\|>|[<\[◁]\|?(?:/|end){_THOUGHTS}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """How a template has to be asked, so that it writes what is meant.

    Attributes
    ----------
    merged : bool
        The system text stands at the head of the user's turn: the template has no place for it.
    parts : bool
        Contents are lists of parts, as templates of models want that see pictures.
    header : str
        What the template leaves out where it is asked to begin an answer: what it writes before one that is given, or
        the end of the header, as the user's turn has it.
    """

    merged: bool = False
    parts: bool = False
    header: str = ""

    def turns(self, system: str, user: str) -> list[dict[str, Any]]:
        """Make the turns of a conversation."""
        if self.merged:
            return [self.turn("user", f"{system}\n\n{user}")]
        return [self.turn("system", system), self.turn("user", user)]

    def turn(self, role: str, text: str) -> dict[str, Any]:
        """Make one turn."""
        return {"role": role, "content": [{"type": "text", "text": text}] if self.parts else text}


def template_of(tokenizer: Any) -> str:
    """Find a tokenizer's chat template, '' where it has none; what it asks the date by gives `DATE`.

    Raises
    ------
    ModelError
        If it has several, and none is the usual one.
    """
    if not getattr(tokenizer, "chat_template", None):
        return ""
    try:
        return _pinned() + str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ModelError("cannot be chosen", param="chat template", got=_line(str(error))) from error


def control_tokens(tokenizer: Any) -> list[str]:
    """List what a tokenizer takes out of any text as a control token; shorter ones than <s> are ordinary signs."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    named = [token.content for token in added if token.special]
    return sorted({token for token in (*named, *tokenizer.all_special_tokens) if len(token) > 2})


@lru_cache(maxsize=1)
def _pinned() -> str:
    """Write a macro that stands before a template in place of the function strftime_now, and gives `DATE`."""
    letters = [f"{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdDeFgGHIjklmMnpPrRsSTuUVwWxXyYzZ"]
    words = ((f"%{letter}", DATE.strftime(f"%{letter}")) for letter in letters)
    replaced = "".join(f"|replace({key!r}, {json.dumps(word)})" for key, word in words)
    return "{% macro strftime_now(format) %}{{ format" + replaced + " }}{% endmacro %}"


def template_args(given: Sequence[str]) -> dict[str, Any]:
    """Read arguments for templates from 'key=value': values are JSON, and words where they are none.

    Raises
    ------
    AceError
        If there is no key, or one is the caller's own.
    """
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier() or key in ("messages", "add_generation_prompt", "tools", "documents"):
            raise AceError("no argument of a template", param="--template-arg", expected="key=value", got=repr(text))
        try:  # as Python writes them too: the word "False" would count as true
            found[key] = json.loads(value.lower() if value in ("True", "False", "None") else value)
        except ValueError:
            found[key] = value
    return found


def form_of(tokenizer: Any, args: Mapping[str, Any] = MappingProxyType({})) -> Form:
    """Find out, in another process, how a tokenizer's template has to be asked.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        With a chat template.
    args : mapping, optional
        What the template is told beyond `NOT_THINKING`.

    Raises
    ------
    ModelError
        If it cannot be asked so that system text and question stand in the prompt, once each, and the answer follows.
    """
    names = {**tokenizer.special_tokens_map, **NOT_THINKING, **args}
    return _form_of(template_of(tokenizer), json.dumps(names, sort_keys=True, default=str))


@lru_cache(maxsize=64)
def _form_of(template: str, names: str) -> Form:
    forms = [Form(), Form(merged=True), Form(parts=True), Form(merged=True, parts=True)]
    begun = [form.turns(_SYSTEM, _USER) for form in forms]
    answered = [[*turns, form.turn("assistant", _ANSWER)] for turns, form in zip(begun, forms, strict=True)]
    said = _tried(template, json.loads(names), begun, answered)
    problems = []
    for form, (start, whole) in zip(forms, said, strict=True):
        text = start.get("text", "")
        header = _left_out(text, whole.get("text", ""), _SYSTEM if form.merged else _USER)
        problem = start.get("problem") or objection(text + header, _SYSTEM, _USER)
        if not problem:
            return replace(form, header=header)
        problems.append(problem)
    raise refused(problems)


def _left_out(text: str, whole: str, content: str) -> str:
    """Find what a prompt lacks before the answer: what the conversation has with one, or the user's turn has."""
    before, found, _ = whole.partition(_ANSWER)
    if found and before.startswith(text):
        return before[len(text) :]
    ends = re.search(r"user(\W[^\n]{0,40}\n*)\Z", text[: max(text.find(content), 0)])
    return ends.group(1) if ends and _within_header(text) else ""


def _within_header(text: str) -> bool:
    """Whether a prompt ends in a bare word, the role's say, so that the answer would be a part of it."""
    return text[-1:].isalnum()


def _tried(
    template: str, names: dict[str, Any], begun: list[Any], answered: list[Any]
) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Render conversations, up to an answer and with one, where a template cannot do harm."""
    turns = [(one, False) for one in begun] + [(one, True) for one in answered]
    limits = {"seconds": SECONDS, "memory": MEMORY, "characters": CHARACTERS}
    asked = json.dumps({"template": template, "names": names, "turns": turns, **limits})
    try:
        run = subprocess.run(
            [sys.executable, "-c", _TRIAL], input=asked, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        said: list[dict[str, str]] = json.loads(run.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # stopped by its limits, or it broke
        raise refused([f"does not end within {SECONDS} seconds of computing and {MEMORY >> 30} GB of memory"]) from None
    return list(zip(said[: len(begun)], said[len(begun) :], strict=True))


def refused(problems: Sequence[str]) -> ModelError:
    """Build the error for a template that does not write what is meant."""
    return ModelError(
        "does not give the prompt that is meant", param="chat template",
        expected="the system text, question, options and person, once each, then the beginning of the answer",
        got="; ".join(dict.fromkeys(map(_line, problems))),
        hint="tell it more with --template-arg key=value, or ask in plain text with --template ace-align",
    )  # fmt: skip


def write(
    tokenizer: Any, system: str, user: str, parts: Sequence[str] = (), args: Mapping[str, Any] = MappingProxyType({})
) -> str:
    """Write a conversation up to where the answer begins, as the tokenizer's chat template wants it.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        With a chat template.
    system, user : str
        The turns.
    parts : sequence of str
        Pieces of the user's turn that must not be repeated either.
    args : mapping, optional
        What the template is told beyond `NOT_THINKING`.

    Raises
    ------
    ModelError
        If what was meant does not stand in it once, or something stands between it and the answer.
    """
    form = form_of(tokenizer, args)
    try:
        text = tokenizer.apply_chat_template(
            form.turns(system, user), chat_template=template_of(tokenizer), tokenize=False, add_generation_prompt=True,
            **{**NOT_THINKING, **args},
        )  # fmt: skip
    except Exception as error:  # a template may raise anything, of some texts only
        raise refused([f"raises {type(error).__name__}: {error}"]) from error
    written = str(text) + form.header
    if problem := objection(written, system, user, parts):
        raise refused([problem])
    return written


def objection(written: str, system: str, user: str, parts: Sequence[str] = ()) -> str:
    """Say what is wrong with a prompt up to the answer, '' if nothing is."""
    meant = f"{system}\n{user}"
    for name, piece in (("system text", system), ("question", user), *((repr(part), part) for part in parts)):
        times = written.count(piece)
        if times < meant.count(piece):
            return f"leaves out or changes the {name}" if piece in (system, user) else f"leaves out {name}"
        if times > meant.count(piece):
            return f"writes the {name} {times} times"
    after = written[max(written.rfind(system) + len(system), written.rfind(user) + len(user)) :]
    if block := open_thoughts(after):
        return f"opens a block for thoughts before the answer ({block!r})"
    if _within_header(after):
        return f"ends within a header before the answer ({after[-30:]!r})"
    return ""


def open_thoughts(text: str) -> str:
    """Find what opens a block for thoughts that does not end again; '' if there is none."""
    marks = [(mark.start(), mark.group()) for mark in _OPENED.finditer(text)]
    marks += [(mark.start(), "") for mark in _CLOSED.finditer(text)]
    opened: list[str] = []
    for _, mark in sorted(marks):
        opened = [*opened, mark] if mark else opened[:-1]
    return opened[-1] if opened else ""


def _line(text: str) -> str:
    """Put a template's words on one line, without what a terminal would obey."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:300]
