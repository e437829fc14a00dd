"""Replies of servers that are broken or mean harm: one message, or probabilities that are some; no socket is opened.

By hand: ``python tests/fuzz/test_fuzz_replies.py 2000 [SEED]``.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import openai
from fuzzing import by_hand, changed, fuzz, spoilt
from lists import chat_list, plain_list

from acecausal.errors import AceError, ModelError
from align.elicitation.endpoint import Endpoint
from align.prompting.templates import Text

httpx = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])  # whichever it builds on

OPTIONS = ("1", "2", "3")
TEXTS = [Text("Answer.", f"What{mark}?\n1. a\n2. b\n3. c", "", OPTIONS, chat=True) for mark in ("", " else")]
NUMBERS: list[Any] = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "-9999", "0", "-0.0", "0.009", "0.02", "1" + "0" * 400, "null",
    "true", '"-1"', "-1e-320", "[]",
]  # fmt: skip
TOKENS = ["1", " 1", "Ġ1", "▁2", "3", " ", "Ġ", "<think>", "", "\x1b[2J", "\ud800", "é", "A", "1\n"]
STATUSES = [200, 200, 200, 201, 204, 301, 307, 308, 400, 401, 404, 408, 409, 413, 422, 429, 500, 503, 599]


def reply(rng: np.random.Generator, chat: bool) -> bytes:
    """A reply of the right form, or one that is changed in its parts or its bytes."""
    tokens = list(rng.choice(TOKENS, rng.integers(1, 8))) if rng.random() < 0.5 else [" 1", " 2", "3"]
    shares = rng.dirichlet(np.ones(len(tokens) + 1))[:-1]
    pairs = [(str(token), math.log(share)) for token, share in zip(tokens, shares, strict=True)]
    made = json.loads(json.dumps((chat_list if chat else plain_list)(pairs)))
    for _ in range(rng.choice([0, 0, 1, 2])):
        made = changed(made, rng)
    said = json.dumps(made)
    for _, number in pairs if rng.random() < 0.3 else ():
        said = said.replace(str(number), str(rng.choice(NUMBERS)), 1)
    content = said.encode("utf-8", "surrogatepass")
    return spoilt(content, rng) if rng.random() < 0.2 else content


def case(rng: np.random.Generator, folder: Path) -> str:
    """A server that says one thing, or two; its answers kept in a file that may be spoilt, and read again."""
    chat = bool(rng.integers(0, 2))
    said = [reply(rng, chat) for _ in range(rng.integers(1, 3))]
    status = int(rng.choice(STATUSES)) if rng.random() < 0.1 else 200
    headers = {"content-type": str(rng.choice(["application/json", "text/html", "x" * 9000, "text/event-stream"]))}
    if rng.random() < 0.1:
        headers["retry-after"] = str(rng.choice(["0", "x", "-1", "nan", "1e400"]))
    if rng.random() < 0.1 or 300 < status < 400:
        headers["location"] = str(rng.choice(["/v1", "http://[", "//elsewhere", "", "javascript:x", "x" * 9000]))
    if rng.random() < 0.1:
        packing = str(rng.choice(["gzip", "deflate", "br", "identity", ""]))
        headers["content-encoding"] = packing
        said = [(gzip.compress if rng.random() < 0.7 else zlib.compress)(part) for part in said]
        said = [spoilt(part, rng) if rng.random() < 0.3 else part for part in said]
    store = folder / "kept.jsonl" if rng.random() < 0.3 else None

    def answer(_request: Any) -> Any:
        content = said[0] if len(said) == 1 else said.pop(0)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))

    codes = []
    for turn in range(1 if store is None else 2):
        if turn and store.exists() and rng.random() < 0.7:
            store.write_bytes(spoilt(store.read_bytes(), rng))
        codes.append(asked(chat, store, answer))
    return " and ".join(codes)


def asked(chat: bool, store: Path | None, answer: Any) -> str:
    """Ask, and hold the answers against what an elicitation takes for granted."""
    url = f"http://127.0.0.1:9/v1{'/chat/completions' if chat else ''}"
    try:
        server = Endpoint(url, "m", key="secret-key", retries=0, store=store)
    except AceError:
        return "store refused"
    http = server._client._client
    http._mounts, http._transport = {}, httpx.MockTransport(answer)
    try:
        answers = server.ask(TEXTS)
    except ModelError as error:
        if not str(error).isprintable() and not all(c.isprintable() or c == "\n" for c in str(error)):
            raise
        return "refused"
    assert answers.log_probs.shape == (len(TEXTS), len(OPTIONS))
    for log_probs, unlisted, imputed in zip(answers.log_probs, answers.unlisted, answers.imputed, strict=True):
        missing = np.isnan(log_probs)
        assert missing.all() or not missing.any()
        assert missing.all() == np.isnan(imputed)
        assert 0 <= unlisted <= 1
        assert missing.all() or (np.isfinite(log_probs).all() and np.exp(log_probs).sum() <= 1.06 and 0 <= imputed <= 1)
    assert np.isfinite(answers.log_probs).any(), "success with nothing in it"
    said = json.dumps(server.provenance(), allow_nan=False)
    assert "secret" not in said
    assert store is None or store.exists()
    return "answered"


def test_replies(tmp_path):
    outcomes = fuzz(case, 50, tmp_path)
    assert outcomes["refused"] > 5
    assert outcomes["answered"] > 0


if __name__ == "__main__":
    by_hand(case)
