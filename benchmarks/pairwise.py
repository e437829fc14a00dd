"""What the benchmarks of the model side share: the models, prompts as plain loops take them, clocks, memory, work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acecausal.errors import AceError
from align.models.load import load_model
from align.prompting.options import Prompt

TEMPLATES = ("persona-last", "ace-align")
#: Rows of a batch of the fair loop; 4 to 32 take the same time on a CPU.
BATCH = 16
#: Llamas of random weights: hidden, intermediate, layers, heads, key-value heads, vocabulary, tied. `tiny` is to try.
SHAPES = {
    "1b": (2048, 8192, 16, 32, 8, 128256, True),
    "8b": (4096, 14336, 32, 32, 8, 128256, False),
    "small": (512, 1536, 8, 8, 4, 8192, True),
    "tiny": (64, 128, 3, 4, 2, 8192, True),
}
#: Tokens of the tokenizer that goes with them.
VOCABULARY = 8000


def load(shape: str | None = None, model: str | None = None, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """Load a model (SmolLM2-135M), or draw a Llama of some shape, by default in bf16 on CUDA, else fp32."""
    if shape is None:
        if model is None:
            from cli.demo_run import demo_model  # which brings EconML with it

            model = str(demo_model())
        return load_model(model)
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, intermediate, layers, heads, key_value, vocabulary, tied = SHAPES[shape]
    cuda = torch.cuda.is_available()
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_value, tie_word_embeddings=tied, rope_theta=500000.0,
        initializer_range=hidden**-0.5,  # answers that are not flat
        dtype=dtype or (torch.bfloat16 if cuda else torch.float32), bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(config.dtype)
    try:
        with torch.device("cuda" if cuda else "cpu"):
            drawn = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    return drawn.eval(), drawn_tokenizer()


def drawn_tokenizer() -> Any:
    """Learn byte pairs from a shipped codebook, so that its words are tokens, as they are to a real model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    text = (resources.files("acecausal.survey") / "codebooks" / "wvs7.yaml").read_text("utf-8")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learning = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(), learning)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def device_name() -> str:
    """Name the card, or say that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def single_token(prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give a prompt and one token per option, as loops want them; what all options begin with joins the prompt."""
    shared = 0
    while all(len(o) > shared + 1 for o in prompt.options) and len({o[shared] for o in prompt.options}) == 1:
        shared += 1
    if any(len(option) != shared + 1 for option in prompt.options):
        raise AceError("not single tokens", param="options", got=str(prompt.options))
    return prompt.tokens + prompt.options[0][:shared], tuple(option[shared] for option in prompt.options)


def padded(rows: Sequence[tuple[int, ...]], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """Pad token sequences to ids and attention mask, shape (rows, longest)."""
    lengths = torch.tensor([len(row) for row in rows])
    place = torch.arange(int(lengths.max()))
    mask = place >= lengths.max() - lengths[:, None] if left else place < lengths[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.long)
    ids[mask] = torch.tensor([token for row in rows for token in row])
    return ids.to(device), mask.long().to(device)


def fair(model: nn.Module, prompts: Sequence[Prompt], size: int = BATCH) -> Tensor:
    """Log probabilities of prompts' options as a competent user's loop finds them, shape (prompts, K).

    Each distinct sequence once, in left-padded batches of like length, logits of the last positions only; no trie and
    no cache, and nothing is computed again when gradients are due.
    """
    rows = sorted({p.tokens + option[:-1] for p in prompts for option in p.options}, key=len)
    kept = max(len(option) for p in prompts for option in p.options)
    found: dict[tuple[int, ...], Tensor] = {}
    for start in range(0, len(rows), size):
        ids, mask = padded(rows[start : start + size], model.device, left=True)
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        out = model(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False, logits_to_keep=kept)
        found |= zip(rows[start : start + size], out.logits.float().log_softmax(dim=-1), strict=True)
    # the tokens of an option are predicted at the last positions of its row
    options = [[(found[p.tokens + o[:-1]], o) for o in p.options] for p in prompts]
    return torch.stack(
        [torch.stack([sum(at[j - len(o), t] for j, t in enumerate(o)) for at, o in asked]) for asked in options]
    )


def clock() -> str:
    """Say what `timed` reads: on one thread the process's own time, which what else the machine does is not part of."""
    return "cpu" if torch.get_num_threads() == 1 and not torch.cuda.is_available() else "wall"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Run something; seconds by `clock`, what was queued on the GPU included, and its result."""
    now = time.process_time if clock() == "cpu" else time.perf_counter
    _synchronise()
    start = now()
    result = work()
    _synchronise()
    return now() - start, result


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(work: Callable[[], Any]) -> dict[str, float]:
    """Run something; megabytes held before and at the peak: on CUDA what torch allocated, else resident (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        peak = torch.cuda.max_memory_allocated()
        return {"before_mb": before / 2**20, "peak_mb": peak / 2**20}
    # not ru_maxrss, which knows neither a reset nor, in a fork, its own start
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    resident = _status("VmRSS")
    work()
    return {"before_mb": resident, "peak_mb": _status("VmHWM")}


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


class Meter:
    """Counts what passes through a model, PEFT's wrapper off: passes, tokens (padding too), attended pairs, head rows.

    A token attends to as many as its position id says; where a pass names none, the mask is that of plain rows.
    """

    def __init__(self, model: nn.Module) -> None:
        self.base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.reset()
        self.base.model.register_forward_pre_hook(self._body, with_kwargs=True)
        self.base.lm_head.register_forward_pre_hook(self._head)

    def reset(self) -> None:
        self.passes = self.tokens = self.rows = 0
        self.pairs: list[Tensor] = []

    def _body(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.passes += 1
        self.tokens += kwargs["input_ids"].numel()
        mask, positions = kwargs["attention_mask"], kwargs.get("position_ids")
        positions = mask.cumsum(dim=1) - 1 if positions is None else positions
        self.pairs.append((positions + 1).sum())  # no synchronisation here

    def _head(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.rows += args[0].shape[:-1].numel()

    def read(self) -> dict[str, int]:
        """Numbers since the last reset."""
        pairs = sum(int(n) for n in self.pairs)
        return {"passes": self.passes, "tokens": self.tokens, "head_rows": self.rows, "pairs": pairs}

    def flops(self, counted: dict[str, int], *, backward: bool = True) -> float:
        """Operations of forward and backward with frozen weights: activations twice, attention three times.

        What gradient checkpointing computes again does not count, nor what a mask hides.
        """
        config = self.base.config
        head = self.base.lm_head.weight.numel()
        known = {id(p): p.numel() for name, p in self.base.named_parameters() if "lora_" not in name}
        body = sum(known.values()) - head - (0 if config.tie_word_embeddings else head)
        linear = 2 * (body * counted["tokens"] + head * counted["head_rows"])
        attention = 4 * config.num_hidden_layers * config.hidden_size * counted["pairs"]
        return 2.0 * linear + 3.0 * attention if backward else 1.0 * linear + attention
