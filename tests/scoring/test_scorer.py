"""Option log probabilities, against one plain forward pass per prompt and option (transformers' own arithmetic)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, BATCH_ONLY, VOCABULARY, WINDOW, tiny_model

from acecausal.errors import AceError, ModelError
from align.prompting.options import Prompt, option_tokens
from align.scoring import passes as passes_module
from align.scoring import scorer as scorer_module
from align.scoring.attention import use_blocks
from align.scoring.layout import log_probs_of, option_logits_of
from align.scoring.scorer import Scorer

TRIE = tuple(a for a in ARCHITECTURES if a not in BATCH_ONLY)
# fp32 sums in another order; the models' answers are about 1e1 nats, and the observed gap is below 1e-5.
ATOL = 1e-4


# peft 0.21 reads an attribute that transformers 5.23 has renamed.
PEFT_WARNING = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def make_prompts() -> list[Prompt]:
    """27 personas over a shared question, of different lengths, one a prefix of another, one repeated, one apart."""
    rng = np.random.default_rng(7)
    token = lambda *shape: rng.integers(3, VOCABULARY, size=shape).tolist()  # noqa: E731
    question, ends, options = token(14), [token(n) for n in (1, 2, 5)], token(6)
    single = tuple((t,) for t in options[:4])
    several = ((options[0],), (options[1], options[2]), (options[1], options[3], options[4]), (options[5], options[5]))
    prompts = []
    for i, first in enumerate([token(n) for n in (2, 3, 7)]):
        for second in [token(n) for n in (1, 4)]:
            for end in ends:
                prompts.append(Prompt(tuple(question + first + second + end), several if i == 1 else single))
    prompts.append(Prompt(prompts[4].tokens[:-3], single[:2]))
    prompts.append(prompts[0])
    prompts.append(Prompt(tuple(token(25)), several))
    return prompts


PROMPTS = make_prompts()
ALIKE = [Prompt(p.tokens, tuple((5, t) for t in range(7, 11))) for p in PROMPTS]  # differ in the last token only


def plain(model, prompt: Prompt) -> torch.Tensor:
    """Oracle: the whole string of each option in a pass of its own, no mask, no padding, no shared code."""
    values = []
    for option in prompt.options:
        ids = torch.tensor([[*prompt.tokens, *option]])
        log_p = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0], dim=-1)
        start = len(prompt.tokens)
        values.append(sum(log_p[start - 1 + j, token] for j, token in enumerate(option)))
    return torch.stack(values)


def largest_gap(actual, expected) -> float:
    assert len(actual) == len(expected) > 0
    assert [a.shape for a in actual] == [e.shape for e in expected]
    return max(float((a - e).detach().abs().max()) for a, e in zip(actual, expected, strict=True))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The models are too small for threads to help, and the order of sums should not vary."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models():
    return {architecture: tiny_model(architecture) for architecture in ARCHITECTURES}


@pytest.fixture(scope="module")
def expected(models):
    with torch.no_grad():
        return {name: [plain(model, prompt) for prompt in PROMPTS] for name, model in models.items()}


def test_cases_are_what_they_claim():
    assert len(TRIE) == 10
    assert len(ARCHITECTURES) == 13
    lengths = {len(p.tokens) for p in PROMPTS}
    assert min(lengths) > 2 * WINDOW - 1
    assert len(lengths) > 5
    assert {len(option) for p in PROMPTS for option in p.options} == {1, 2, 3}
    assert len(PROMPTS) == 21


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tiny_models_do_not_answer_flat(expected, architecture):
    four = torch.stack([e for e, p in zip(expected[architecture], PROMPTS, strict=True) if len(p.options) == 4])
    assert four.std(dim=0).min() > 0.3


@pytest.mark.parametrize("method", ["trie", "batch"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_probs__equal_one_prompt_at_a_time(models, expected, architecture, method):
    if method == "trie" and architecture in BATCH_ONLY:
        with pytest.raises(ModelError, match="method"):
            Scorer(models[architecture], method="trie")
        return
    for budget in (60, 4096):
        with torch.no_grad():
            actual = Scorer(models[architecture], method=method, budget=budget).log_probs(PROMPTS)
        assert {a.dtype for a in actual} == {torch.float32}
        assert largest_gap(actual, expected[architecture]) < ATOL


@pytest.mark.parametrize("block", [5, 64])
@pytest.mark.parametrize("architecture", TRIE)
def test_blocks__equal_one_prompt_at_a_time(models, expected, architecture, block):
    """Many blocks that begin anywhere, or few: the numbers and the gradient (cosine above 0.9999)."""
    model = models[architecture]
    packed = log_probs_of(model, PROMPTS, "trie", 4096, block)
    assert largest_gap(packed, expected[architecture]) < ATOL
    one_by_one = gradients(model, [plain(model, prompt) for prompt in PROMPTS])
    assert torch.cosine_similarity(gradients(model, packed), one_by_one, dim=0) > 0.9999
    few = option_logits_of(model, ALIKE, "trie", 4096, block)
    with torch.no_grad():
        alike = [plain(model, prompt).log_softmax(-1) for prompt in ALIKE]
    assert largest_gap([values.log_softmax(-1) for values in few], alike) < ATOL


def test_trie_pass__computes_each_distinct_token_once(models):
    """No padding, and no stem twice; attention is by blocks, and every token may attend to something."""
    sequences = [s.tokens for s in PROMPTS]
    distinct = {s[:n] for s in sequences for n in range(1, len(s) + 1)}
    inputs, paths = passes_module.trie_pass(models["llama"], sequences, 10)
    assert inputs["input_ids"].shape == (1, len(distinct))
    assert [inputs["input_ids"][0, path].tolist() for path in paths] == [list(s) for s in sequences]
    mask = inputs["attention_mask"]
    assert mask.shape[:3] == (-(-len(distinct) // 10), 1, 10)
    assert mask.shape[3] < len(distinct) / 3
    assert mask.dtype == torch.bool
    assert mask.any(dim=-1).all()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_use_blocks__leaves_the_librarys_attention_as_it_is(implementation):
    """Without the keyword it gives the same numbers, bit for bit, and it is put in once."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    model = tiny_model("llama")
    model.set_attn_implementation(implementation)
    ids = torch.arange(20)[None]
    use_blocks(implementation)
    ours = ALL_ATTENTION_FUNCTIONS[implementation]
    use_blocks(implementation)
    assert ALL_ATTENTION_FUNCTIONS[implementation] is ours
    with torch.no_grad():
        found = model(ids).logits
        ALL_ATTENTION_FUNCTIONS.register(implementation, ours.plain)
        try:
            assert torch.equal(model(ids).logits, found)
        finally:
            ALL_ATTENTION_FUNCTIONS.register(implementation, ours)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_auto__takes_the_trie_where_it_is_exact(models, expected, architecture):
    scorer = Scorer(models[architecture])
    assert (scorer.method, bool(scorer.note)) == (("batch", True) if architecture in BATCH_ONLY else ("trie", False))
    if scorer.note:
        assert architecture in scorer.note
        assert scorer.note.endswith(".")
        assert "\n" not in scorer.note
    with torch.no_grad():
        assert largest_gap(scorer.log_probs(PROMPTS), expected[architecture]) < ATOL


@pytest.mark.parametrize("architecture", ["mamba", "bloom"])
@pytest.mark.parametrize("spread", [0.3, 0.02])
def test_self_check__finds_what_declarations_would_miss(monkeypatch, architecture, spread):
    """The static reasons are switched off: the comparison alone must refuse, also for nearly flat answers."""
    model = tiny_model(architecture, initializer_range=spread)
    monkeypatch.setattr(scorer_module, "no_trie", lambda model: "")
    monkeypatch.setattr(passes_module, "layer_windows", lambda config: {"every": None})
    scorer = Scorer(model)
    assert scorer.method == "batch"
    assert "differ by" in scorer.note or "refuses a packed pass" in scorer.note


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3", "qwen2_window"])
def test_self_check__a_window_longer_than_the_probes_still_bites(monkeypatch, architecture):
    model = tiny_model(architecture, sliding_window=200)
    assert Scorer(model).method == "trie"
    assert model.config.sliding_window == 200
    layer_windows = passes_module.layer_windows
    monkeypatch.setattr(passes_module, "layer_windows", lambda config: dict.fromkeys(layer_windows(config)))
    scorer = Scorer(model)
    assert scorer.method == "batch"
    assert "differ by" in scorer.note
    assert model.config.sliding_window == 200


def test_self_check__ignores_dropout_and_restores_modes():
    model = tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    assert set(modes) == {True, False}
    assert Scorer(model).method == "trie"
    assert [module.training for module in model.modules()] == modes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, for what transformers does with it
def test_auto__other_attention_goes_to_batch(models, expected):
    model = tiny_model("llama")
    model.set_attn_implementation("flex_attention")
    scorer = Scorer(model)
    assert scorer.method == "batch"
    assert "flex_attention" in scorer.note
    model.set_attn_implementation("eager")
    eager = Scorer(model)
    assert eager.method == "trie"
    with torch.no_grad():
        assert largest_gap(eager.log_probs(PROMPTS), expected["llama"]) < ATOL


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_auto__half_precision(expected, architecture, dtype):
    """Rounding: 8 (bf16) or 11 (fp16) bits through three layers, on answers about 10 nats apart."""
    scorer = Scorer(tiny_model(architecture).to(dtype))
    assert scorer.method == "trie"
    with torch.no_grad():
        gap = largest_gap(scorer.log_probs(PROMPTS), expected[architecture])
    assert gap < (0.5 if dtype == torch.bfloat16 else 0.06)


@pytest.mark.parametrize("rows", [None, [3, 50, 7]], ids=["all", "some"])
@pytest.mark.parametrize("autocast", [False, True])
def test_picked_logits__the_head_is_in_single_precision(autocast, rows):
    """Oracle: the last hidden states in bfloat16 times the head in single precision; 16 bits are off by .01."""
    model = tiny_model("llama").to(torch.float32 if autocast else torch.bfloat16)
    inputs = passes_module.batch_pass(model, [p.tokens for p in PROMPTS[:3]])
    row, position = np.array([0, 1, 2]), np.array([4, 9, 2])
    wanted = None if rows is None else torch.tensor(rows)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = passes_module.picked_logits(model, inputs, row, position, wanted)
        hidden = model.model(**inputs).last_hidden_state[row, position]
    expected = hidden.float() @ model.lm_head.weight.float().T
    torch.testing.assert_close(found, expected if rows is None else expected[:, rows], rtol=0, atol=1e-5)
    assert not torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize("method", ["trie", "batch"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_log_probs__do_not_depend_on_packing(models, architecture, method):
    with torch.no_grad():
        whole = Scorer(models[architecture], method=method).log_probs(PROMPTS)
        order = np.random.default_rng(1).permutation(len(PROMPTS))
        shuffled = Scorer(models[architecture], method=method, budget=50).log_probs([PROMPTS[i] for i in order])
    assert largest_gap(shuffled, [whole[i] for i in order]) < 1e-5
    assert Scorer(models[architecture], method=method).log_probs([]) == []


def gradients(model, log_probs) -> torch.Tensor:
    """Gradient of a weighted sum of log probabilities, all parameters in one vector."""
    model.zero_grad()
    weights = torch.Generator().manual_seed(0)
    sum((lp * torch.randn(lp.shape, generator=weights)).sum() for lp in log_probs).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("method", ["trie", "batch"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_probs__gradients_equal_those_of_separate_prompts(architecture, method, checkpointing):
    model = tiny_model(architecture)
    one_by_one = gradients(model, [plain(model, prompt) for prompt in PROMPTS])
    if checkpointing:
        model.activation_checkpointing_enable()
        model.train()  # these two have no dropout
        assert model.is_activation_checkpointing
    packed = gradients(model, Scorer(model, method=method, budget=100).log_probs(PROMPTS))
    assert one_by_one.norm() > 1
    assert torch.cosine_similarity(packed, one_by_one, dim=0) > 0.9999
    assert abs(float(packed.norm() / one_by_one.norm()) - 1) < 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_option_log_probs__are_the_normalised_ones(models, architecture):
    """Oracle: one plain pass per option, normalised. Some rows of the head where options allow it, else all."""
    scorer = Scorer(models[architecture], budget=200)
    for prompts in (ALIKE, PROMPTS):
        with torch.no_grad():
            expected = [plain(models[architecture], prompt).log_softmax(-1) for prompt in prompts]
            assert largest_gap(scorer.option_log_probs(prompts), expected) < ATOL


def test_option_log_probs__compute_only_the_options_rows(models, monkeypatch):
    shapes = []
    linear = torch.nn.functional.linear

    def noted(hidden, weight, bias=None):
        shapes.append(tuple(weight.shape))
        return linear(hidden, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", noted)
    scorer = Scorer(models["llama"])
    shapes.clear()
    scorer.option_log_probs(ALIKE)
    assert (VOCABULARY, 32) not in shapes
    assert (4, 32) in shapes
    scorer.option_log_probs(PROMPTS)
    assert (VOCABULARY, 32) in shapes


@PEFT_WARNING
@pytest.mark.parametrize("checked", ["before", "after"])
def test_option_log_probs__head_with_an_adapter_is_computed_whole(checked):
    """Also where the adapter is put on after the scorer's check, as in training."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["lm_head"], init_lora_weights=False, task_type="CAUSAL_LM")
    model = tiny_model("llama")
    scorer = Scorer(model)
    model = peft.get_peft_model(model, config).eval()
    scorer = Scorer(model) if checked == "after" else scorer
    with torch.no_grad():
        expected = [plain(model, prompt).log_softmax(-1) for prompt in ALIKE]
        assert largest_gap(scorer.option_log_probs(ALIKE, model=model), expected) < ATOL


def test_log_probs__keep_no_copy_of_a_bfloat16_head():
    """What is kept for the backward pass does not grow by the head in float32 with every pass."""
    head = VOCABULARY * 32 * 4

    def kept(passes: int) -> int:
        model = tiny_model("llama").to(torch.bfloat16)
        model.activation_checkpointing_enable()
        model.train()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
            log_probs_of(model, ALIKE, "batch", 10_000 if passes == 1 else 64)
        return sum(size == head for size in sizes)

    assert kept(1) == kept(20) == 0


def test_picked_logits__leave_a_hooked_head_alone():
    """A forward that somebody else put on the head (as accelerate does) is called, and is there afterwards."""
    model = tiny_model("llama")
    model.lm_head.forward = lambda hidden: 2 * torch.nn.functional.linear(hidden, model.lm_head.weight)
    hooked = model.lm_head.forward
    with torch.no_grad():
        expected = [plain(model, prompt) for prompt in PROMPTS[:3]]
        assert largest_gap(Scorer(model).log_probs(PROMPTS[:3]), expected) < ATOL
    assert model.lm_head.forward is hooked


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("method", ["trie", "batch"])
def test_option_log_probs__gradients_equal_those_of_separate_prompts(architecture, method):
    """One option's log probability per prompt: all of them together sum to a constant. Cosine above 0.9999."""
    model = tiny_model(architecture)
    one_by_one = gradients(model, [plain(model, prompt).log_softmax(-1)[:1] for prompt in ALIKE])
    few = gradients(model, [v[:1] for v in Scorer(model, method=method, budget=100).option_log_probs(ALIKE)])
    assert torch.cosine_similarity(few, one_by_one, dim=0) > 0.9999
    assert abs(float(few.norm() / one_by_one.norm()) - 1) < 1e-4


@PEFT_WARNING
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_log_probs__peft_model(architecture):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = peft.get_peft_model(tiny_model(architecture), config).eval()
    scorer = Scorer(model)
    assert (scorer.method, scorer.note) == ("trie", "")
    one_by_one = [plain(model, prompt) for prompt in PROMPTS]
    packed = scorer.log_probs(PROMPTS)
    assert largest_gap(packed, one_by_one) < ATOL
    assert torch.cosine_similarity(gradients(model, packed), gradients(model, one_by_one), dim=0) > 0.9999
    with model.disable_adapter(), torch.no_grad():
        assert largest_gap(scorer.log_probs(PROMPTS), one_by_one) > 0.1  # the adapter does act


def test_log_probs__calls_the_wrapper_it_is_handed(models, expected):
    class Wrapper(torch.nn.Module):  # what a trainer's data-parallel wrapper looks like
        def __init__(self, module):
            super().__init__()
            self.module, self.calls = module, 0

        def forward(self, **inputs):
            self.calls += 1
            return self.module(**inputs)

    wrapper = Wrapper(models["gemma2"])
    with torch.no_grad():
        actual = Scorer(models["gemma2"]).log_probs(PROMPTS, model=wrapper)
    assert wrapper.calls == 1
    assert largest_gap(actual, expected["gemma2"]) < ATOL


@PEFT_WARNING
def test_scorer__virtual_tokens_are_refused():
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match="virtual"):
        Scorer(peft.get_peft_model(tiny_model("llama"), config))


@pytest.mark.parametrize(("tokens", "options"), [((), ((1,),)), ((1,), ()), ((1,), ((2,), ()))])
def test_prompt__empty_parts_are_refused(tokens, options):
    with pytest.raises(AceError, match="prompt"):
        Prompt(tokens, options)


class Tokenizer:
    """Greedy longest-match tokenizer over a small vocabulary, with an optional start and end token."""

    def __init__(self, *pieces: str, end: bool = False) -> None:
        self.pieces = ["<s>", "</s>", *pieces]
        self.end = end
        self.all_special_ids = [0, 1]

    def __call__(self, texts, *, add_special_tokens):
        return {"input_ids": [self._encode(text, add_special_tokens) for text in texts]}

    def _encode(self, text, special):
        ids = []
        while text:
            piece = max((p for p in self.pieces if text.startswith(p)), key=len)
            ids.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return [0, *ids, *([1] if self.end else [])] if special else ids

    def spell(self, ids):
        return [self.pieces[i] for i in ids]


@pytest.mark.parametrize("end", [False, True])
def test_option_tokens__merges_across_the_boundary_belong_to_the_option(end):
    tokenizer = Tokenizer("a", ":", " ", " 1", " 2", "1", "2", "x", end=end)
    prompt = option_tokens(tokenizer, "a: ", ["1", "2", "x"], add_special_tokens=True)
    assert tokenizer.spell(prompt.tokens) == ["<s>", "a", ":"]
    assert [tokenizer.spell(o) for o in prompt.options] == [[" 1"], [" 2"], [" ", "x"]]
    plain_prompt = option_tokens(tokenizer, "a:", ["1", "2"], add_special_tokens=False)
    assert tokenizer.spell(plain_prompt.tokens) == ["a", ":"]
    assert [tokenizer.spell(o) for o in plain_prompt.options] == [["1"], ["2"]]


def test_option_tokens__common_first_token_of_all_options_is_not_the_prompts():
    prompt = option_tokens(Tokenizer("a", "1", "2"), "a", ["11", "12"], add_special_tokens=False)
    assert (prompt.tokens, prompt.options) == ((2,), ((3, 3), (3, 4)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["1", "2", "10"], "all tokens of option '1'"),
        (["1", "1"], "all tokens of"),
        (["1", ""], "option '': no tokens of its own"),
    ],
)
def test_option_tokens__overlapping_options_are_refused(options, match):
    with pytest.raises(AceError, match=match) as caught:
        option_tokens(Tokenizer("a", "0", "1", "2"), "a", options, add_special_tokens=False)
    assert "letters" in str(caught.value)
    whole = Tokenizer("a", "0", "1", "2", "10")
    assert len(option_tokens(whole, "a", ["1", "2", "10"], add_special_tokens=False).options) == 3


def test_prompt__longer_than_the_model_was_made_for():
    """One message, for both ways of asking; one that just fits is answered."""
    model = tiny_model("llama")
    longest = model.config.max_position_embeddings
    scorer = Scorer(model, method="batch")
    fits, too_long = (Prompt(tuple([5] * count), ((6,), (7,))) for count in (longest - 1, longest))
    assert torch.isfinite(scorer.log_probs([fits])[0]).all()
    for ask in (scorer.log_probs, scorer.option_log_probs):
        with pytest.raises(ModelError, match="too long for the model"):
            ask([too_long])
