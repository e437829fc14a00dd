"""What servers list, in the forms of both interfaces."""

from __future__ import annotations


def chat_list(pairs) -> dict:
    listed = [{"token": token, "logprob": log_p} for token, log_p in pairs]
    return {"choices": [{"logprobs": {"content": [{"token": "1", "logprob": -1.0, "top_logprobs": listed}]}}]}


def plain_list(pairs) -> dict:
    return {"choices": [{"logprobs": {"tokens": ["1"], "top_logprobs": [dict(pairs)]}}]}
