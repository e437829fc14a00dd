"""Chat templates: the prompt that is meant, or one message. Oracles are prompts written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from acecausal.cube.files import Country, Value
from acecausal.errors import AceError, ModelError
from align.elicitation.backends import InProcess
from align.models.load import load_model
from align.prompting import chat
from align.prompting.chat import DATE, form_of, objection, open_thoughts, template_args
from align.prompting.prompts import compose, encode, render
from align.prompting.templates import SYSTEM
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer

DIGITS = Wording(marks="digits")

TEXT = compose(
    Country("NOR", "Norway", "Europe"),
    Value("trust", "Do you trust people?", "t", "ordinal", ("Yes", "It depends", "No")),
    "a man",
    DIGITS,
)
USER = "Country: Norway\nQuestion: Do you trust people?\n1. Yes\n2. It depends\n3. No\nPerson: a man"
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
CHATML = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{USER}<|im_end|>\n<|im_start|>assistant\n"
BOS = 256


def tokenizer(template: str | None, *, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """Bytes, and a token that begins every text where `adds_bos`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(models.BPE({token: i for i, token in enumerate([*alphabet, "<s>"])}, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    if adds_bos:
        bytewise.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    fast = PreTrainedTokenizerFast(tokenizer_object=bytewise, bos_token="<s>")
    fast.chat_template = template
    return fast


RIGHT = {
    "begins the text itself": (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]",
        f"<s>[system]{SYSTEM}\n[user]{USER}\n[assistant]",
    ),
    "refuses a system turn, and lacks the end of its header": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}<start>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}<start>model\n",
        f"<s><start>user\n{SYSTEM}\n\n{USER}<end>\n<start>model\n",
    ),
    "drops a system turn": (
        "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}</u>{% endif %}{% endfor %}<a>",
        f"<u>{SYSTEM}\n\n{USER}</u><a>",
    ),
    "thinks unless asked not to": (
        TURNS + "<|im_start|>assistant\n{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}",
        CHATML,
    ),
    "thinks nothing where asked not to": (
        TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}"
        "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
        CHATML + "<think>\n\n</think>\n\n",
    ),
    "takes contents in parts": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'text' %}"
        "{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n",
        CHATML,
    ),
    "asks the date": (
        "{{ strftime_now('%d %b %Y, %-d. %B, %A') }}\n" + TURNS + "<|im_start|>assistant\n",
        f"01 Jan 2025, 1. January, Wednesday\n{CHATML}",
    ),
    "begins no answer": (TURNS, CHATML),
    "leaves its header open": (
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        f"<|start|>system<|message|>{SYSTEM}<|end|><|start|>user<|message|>{USER}<|end|>"
        "<|start|>assistant<|channel|>final<|message|>",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("template", "wanted"), RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("adds_bos", [False, True])
def test_template__gives_the_prompt_that_is_meant(template, wanted, adds_bos):
    asked = tokenizer(template, adds_bos=adds_bos)
    assert render(asked, TEXT) == (f"{wanted}Option", False)
    (prompt,) = encode(asked, [TEXT])
    assert asked.decode(prompt.tokens) == f"{wanted}Option"
    assert prompt.tokens.count(BOS) == wanted.count("<s>") <= 1


def test_template__none_there():
    (prompt,) = encode(tokenizer(None, adds_bos=True), [TEXT])
    assert prompt.tokens.count(BOS) == 1
    assert render(tokenizer(None), TEXT) == (f"{SYSTEM}\n\n{USER}\nAnswer: Option", True)


BEGIN = "<|im_start|>assistant\n"
WRONG = {
    "thinks whatever it is told": (TURNS + BEGIN + "<think>\n", "opens a block for thoughts.*<think>"),
    "thinks on a scratchpad": (TURNS + BEGIN + "<scratchpad>\n", "opens a block for thoughts.*<scratchpad>"),
    "thinks in another bracket": (TURNS + BEGIN + "[THINK]", r"opens a block for thoughts.*\[THINK\]"),
    "thinks in a channel": (TURNS + "<|start|>assistant<|channel|>analysis<|message|>", "opens a block for thoughts"),
    "says it loudly": (TURNS.replace("m.content", "m.content|upper") + BEGIN, "leaves out or changes the system text"),
    "says the system text twice": (
        "{{ messages[0].content }}" + TURNS + BEGIN, "writes the system text 2 times"),
    "says the question twice": (
        TURNS.replace("{{ m.role }}", "{{ m.role }} {{ m.content.split('\n')[1] }}") + BEGIN,
        "writes the 'Question: Do you trust people\\?' 2 times"),
    "leaves options out": (
        TURNS.replace("m.content", "m.content|replace('2. It depends', '')") + BEGIN,
        "leaves out or changes the question"),
    "ends in a word": ("{% for m in messages %}{{ m.content }}\n{% endfor %}assistant", "ends within a header"),
    "begins twice": ("<s><s>" + TURNS + BEGIN, "begins the text twice"),
    "raises": ("{{ raise_exception('\x1b[2Jno') }}", r"raises TemplateError: \[2Jno"),
    "raises of some texts": (
        TURNS + "{% if 'Norway' in messages[-1].content %}{{ messages[9].x.y }}{% endif %}" + BEGIN,
        "raises UndefinedError"),
    "is no template": ("{% for %}", "raises TemplateSyntaxError"),
    "calls itself": ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "raises RecursionError"),
    "fills the memory": ("{{ 'a' * 10**11 }}", "raises MemoryError"),
    "writes a book": (TURNS + "{{ 'a' * 10**7 }}" + BEGIN, "writes 10000"),
}  # fmt: skip


@pytest.mark.parametrize(("template", "why"), WRONG.values(), ids=WRONG)
def test_template__is_refused_in_one_message(template, why):
    with pytest.raises(ModelError, match=why) as caught:
        encode(tokenizer(template), [TEXT])
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).startswith("chat template: does not give the prompt that is meant\n")
    assert "--template ace-align" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4


def test_template__that_never_ends(monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 1)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(ModelError, match="does not end within 1 seconds of computing"):
        encode(tokenizer(endless), [TEXT])


def test_template__is_told_more():
    template = TURNS + "{{ mood }} {{ enable_thinking }} {{ level + 1 }}<|im_start|>assistant\n"
    args = template_args(["mood=calm", "enable_thinking=True", "level=2"])
    assert args == {"mood": "calm", "enable_thinking": True, "level": 2}
    assert "calm True 3<|im_start|>" in render(tokenizer(template), TEXT, args)[0]
    assert template_args(["a=False", "b=false", "c=0", "d=low", "e="]) == {
        "a": False, "b": False, "c": 0, "d": "low", "e": "",
    }  # fmt: skip
    for wrong in ("thinking", "=1", "a-b=1", "messages=[]"):
        with pytest.raises(AceError, match="expected: key=value"):
            template_args([wrong])


def test_template__of_several():
    several = tokenizer(None)
    several.chat_template = {"default": TURNS + BEGIN, "tools": "{{ 0 }}"}
    assert render(several, TEXT)[0] == f"{CHATML}Option"
    several.chat_template = {"one": TURNS, "other": TURNS}
    with pytest.raises(ModelError, match="cannot be chosen"):
        render(several, TEXT)


def test_form__only_what_is_needed():
    plain, parts = form_of(tokenizer(TURNS + BEGIN)), form_of(tokenizer(RIGHT["takes contents in parts"][0]))
    assert (plain.merged, plain.parts) == (False, False)
    assert (parts.merged, parts.parts) == (False, True)
    assert form_of(tokenizer(RIGHT["drops a system turn"][0])).merged


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("<think>\n\n</think>\n\n", ""),
        ("<think>", "<think>"),
        ("<|START_THINKING|><|END_THINKING|>", ""),
        ("<|START_THINKING|>", "<|START_THINKING|>"),
        ("</think><think>", "<think>"),
        ("<|channel>thought\n<channel|>", ""),
        ("<|channel>thought\n", "<|channel>thought"),
        ("◁think▷◁/think▷", ""),
        ("<|end|><|assistant|>", ""),
        ("<|start|>assistant<|channel|>final<|message|>", ""),
        ("[Something]", ""),
    ],
)
def test_open_thoughts(text, opened):
    assert open_thoughts(text) == opened


@pytest.mark.parametrize("template", [None, TURNS + BEGIN])
@pytest.mark.parametrize("where", ["question", "options", "persona", "country"])
def test_control_tokens__in_a_text_are_refused(template, where):
    """The tokenizer would take them out of the text and the model would obey: a codebook can word it otherwise."""
    words = {"question": "Who?", "options": "Yes", "persona": "a man", "country": "Norway"}
    words[where] += " <s>"
    value = Value("q", words["question"], "t", "binary", (words["options"], "No"))
    text = compose(Country("N", words["country"], "E"), value, words["persona"], Wording(marks="labels"))
    with pytest.raises(AceError, match="takes for a control token\n  got: '<s>'"):
        encode(tokenizer(template), [text])
    encode(tokenizer(template), [replace(text, user=text.user.replace("<s>", "s"), options=("Yes", "No"))])


def test_objection__words_that_a_text_itself_repeats():
    assert objection("ab a", "a", "b a") == ""
    assert objection("ab|a b a:", "ab", "a b a", ["b a"]) == ""
    assert objection("ab|b a|a b a:", "ab", "a b a", ["b a"]) == "writes the 'b a' 2 times"
    assert objection("abc", "a", "d") == "leaves out or changes the question"


def test_provenance__says_what_the_template_was_told(tiny_model):
    model, asked = load_model(tiny_model)
    asked.chat_template = "{{ mood }}" + RIGHT["drops a system turn"][0]
    backend = InProcess(model, asked, Scorer(model, method="batch"), {"mood": "calm"})
    backend.ask([replace(TEXT, chat=False)])
    assert not [name for name in backend.provenance() if name.startswith("chat")]
    backend.ask([TEXT])
    said = backend.provenance()
    assert said["chat_date"] == DATE.isoformat() == "2025-01-01"
    assert said["chat_turns"] == "user, which begins with the system text"
    assert said["chat_content"] == "text"
    assert said["chat_template_args"] == {"enable_thinking": False, "thinking": False, "mood": "calm"}
