"""What alignment changes besides the answers: how well the model still predicts ordinary text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

#: Ordinary prose on several subjects, written for this purpose.
TEXT = (
    "The ferry left the harbour a little after six, when the fog had begun to lift from the water. On the upper deck "
    "two men argued about the price of barley, and a child counted the gulls that followed the ship. Nobody asked for "
    "tickets until the lighthouse was behind them.",
    "To make the dough, dissolve the yeast in warm milk, add flour and a pinch of salt, and knead it for ten minutes "
    "until it no longer sticks to the bowl. Cover it with a cloth and let it rest in a warm place for an hour. It "
    "should double in size before it goes into the oven.",
    "When light passes from air into glass it slows down and changes direction. How much it bends depends on the angle "
    "at which it meets the surface and on the kind of glass. A prism bends blue light more than red light, which is "
    "why sunlight that passes through it spreads into colours.",
    "The council met on Tuesday to discuss the new bridge. Several members said that the cost had risen too fast, "
    "while others pointed out that the old bridge would have to be closed within five years. After three hours the "
    "decision was put off until the engineers have delivered their report.",
)


def perplexity(model: nn.Module, tokenizer: Any) -> float:
    """Measure the perplexity of `TEXT` per token, each paragraph on its own; lower is better, 1 at least."""
    device = model.get_input_embeddings().weight.device
    losses, count = 0.0, 0
    for paragraph in TEXT:
        ids = torch.tensor([tokenizer(paragraph)["input_ids"]], device=device)
        with torch.inference_mode():
            log_probs = model(input_ids=ids).logits[0, :-1].float().log_softmax(dim=-1)
        losses -= float(log_probs.gather(1, ids[0, 1:, None]).sum())
        count += ids.shape[1] - 1
    return float(np.exp(losses / count))
