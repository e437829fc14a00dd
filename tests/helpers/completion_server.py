"""A model behind a real HTTP server that speaks the OpenAI protocol, in a thread of the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import torch

from align.models.load import load_model

NAME = "tiny"
#: What a server says instead of an answer: status, body, headers. A body that is a function of the handler says it all.
Fault = tuple[int, Any, dict[str, str]]


def leaning(folder, tokens: dict[str, float], *, chat: bool = False):
    """Load the model, with some tokens made likelier by so many nats."""
    model, tokenizer = load_model(folder)
    head = torch.nn.Linear(model.lm_head.in_features, model.lm_head.out_features)
    with torch.no_grad():
        head.weight.copy_(model.lm_head.weight)
        head.bias.zero_()[tokenizer.convert_tokens_to_ids(list(tokens))] = torch.tensor(list(tokens.values()))
    model.lm_head = head
    if not chat:
        tokenizer.chat_template = None
    return model, tokenizer


class CompletionServer:
    """Serves /v1/completions and /v1/chat/completions with the true likeliest tokens of a model.

    Parameters
    ----------
    model, tokenizer
        From `align.models.load.load_model`.
    cap : int, optional
        Most tokens that are listed; more are asked for in vain, with status 400.
    list_all : bool
        List the whole vocabulary, however few are asked for.
    spell : callable, optional
        Token id to what the server calls it; by default the vocabulary's own spelling ('Ġ' for a space).
    fault : callable, optional
        Number of the request (from 0) and its body to a `Fault`, or None for a right answer.

    Attributes
    ----------
    requests : list of (path, body, headers)
        All that were received, in the order of arrival.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        cap: int | None = None,
        list_all: bool = False,
        spell: Callable[[int], str] | None = None,
        fault: Callable[[int, dict[str, Any]], Fault | None] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.cap, self.list_all = model, tokenizer, cap, list_all
        self.spell = spell or tokenizer.convert_ids_to_tokens
        self.fault = fault or (lambda number, body: None)
        self.requests: list[tuple[str, dict[str, Any], Message]] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> CompletionServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def asked(self) -> list[str]:
        """What was asked, once per request."""
        return [json.dumps(body.get("prompt", body.get("messages"))) for _, body, _ in self.requests]

    def reply(self, path: str, body: dict[str, Any]) -> Fault:
        chat = path == "/v1/chat/completions"
        if not chat and path != "/v1/completions":
            return 404, {"detail": "Not Found"}, {}
        if body["model"] != NAME:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}, {}
        k = body["top_logprobs"] if chat else body["logprobs"]
        if self.cap is not None and k > self.cap:
            return 400, {"error": {"message": f"logprobs of {k} is greater than max allowed: {self.cap}"}}, {}
        top = self.likeliest(self.prompt_ids(body), None if self.list_all else k)
        if chat:
            tokens = [{"token": token, "logprob": log_p, "bytes": None} for token, log_p in top]
            first = {**tokens[0], "top_logprobs": tokens}
            choice = {"message": {"role": "assistant", "content": top[0][0]}, "logprobs": {"content": [first]}}
        else:
            choice = {"text": top[0][0], "logprobs": {"tokens": [top[0][0]], "top_logprobs": [dict(top)]}}
        return 200, {"id": "1", "choices": [{"index": 0, "finish_reason": "length", **choice}]}, {}

    def prompt_ids(self, body: dict[str, Any]) -> list[int]:
        if "prompt" in body:
            return self.tokenizer(body["prompt"])["input_ids"]
        text = self.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def likeliest(self, ids: list[int], k: int | None) -> list[tuple[str, float]]:
        with self.lock, torch.inference_mode():
            log_p = self.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        top = log_p.topk(len(log_p) if k is None else k)
        return [(self.spell(i), p) for i, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def _handler(server: CompletionServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.requests)
                server.requests.append((self.path, body, self.headers))
            status, said, headers = server.fault(number, body) or server.reply(self.path, body)
            if callable(said):
                with suppress(ConnectionError):
                    said(self)
                return
            data = said if isinstance(said, bytes) else (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            kind = "text/html" if isinstance(said, str) else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # a client that waited long enough
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
