"""Answers from any OpenAI-compatible server, read off the likeliest tokens it lists."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from acecausal.errors import AceError, ModelError
from align.backends import Answers
from align.listed import listed_tokens, option_probabilities, space_first, spelled
from align.prompts import Text
from align.threads import Pace, in_threads

#: How many tokens a server is asked to list, and how many if it refuses that.
LISTED, FEWER = 20, 5
WORKERS = 8
#: Seconds to wait for one reply.
TIMEOUT = 120.0

_REFUSALS = {
    401: ("refuses the key", "set OPENAI_API_KEY to a key of this server"),
    403: ("refuses the key", "set OPENAI_API_KEY to a key that may use this model"),
    404: (
        "knows no such model, or no such path",
        "see the server's /v1/models; one for chats only needs a URL ending in /chat/completions",
    ),
    429: ("lets no more requests through", "ask for fewer per second, or run again later"),
}


class Endpoint:
    """A model behind an OpenAI-compatible server.

    Parameters
    ----------
    url : str
        A base such as ``http://host:8000/v1``, whose completions API then gets the plain prompt; or one that ends in
        ``/completions`` or ``/chat/completions``, which chooses the API. A chat server begins the answer itself, so
        there the prompt's lead is left out.
    model : str
        The server's name of it.
    key : str, optional
        By default OPENAI_API_KEY; local servers need none.
    per_second : float, optional
        Most requests started per second, repeated ones included.
    retries : int
        How often a request is repeated when the server is busy, failing or not reached.
    store : str or Path, optional
        A JSONL file that keeps each answer as it comes, so that a run that was killed asks nothing twice.

    Raises
    ------
    AceError
        If the openai package is missing, or a parameter is malformed.

    Notes
    -----
    Temperature is 0: with greedy decoding servers list probabilities that are neither scaled nor cut, and no sampled
    token beyond the likeliest.
    """

    def __init__(
        self, url: str, model: str, *, key: str | None = None, per_second: float | None = None, retries: int = 6,
        store: str | Path | None = None,
    ) -> None:  # fmt: skip
        try:
            import openai
        except ImportError:
            raise AceError("openai is not installed", param=url, hint="pip install 'acecausal[endpoint]'") from None
        self.model, self.retries, self.top = model, retries, LISTED
        self.api, self.origin, self._path = split_url(url)
        self._kept = _Kept(store)
        parts, key = urlsplit(url), key or os.environ.get("OPENAI_API_KEY") or ""
        self._secrets = [secret for secret in (key, parts.password) if secret]
        pace = Pace(per_second)
        http = openai.DefaultHttpxClient(event_hooks={"request": [lambda _: pace.wait()]})
        weakref.finalize(self, http.close)
        self._client: Any = openai.OpenAI(
            base_url=f"{parts.scheme}://{parts.netloc}{self._path}", default_query=dict(parse_qsl(parts.query)),
            api_key=key or "none", max_retries=retries, timeout=TIMEOUT, http_client=http,
        )  # fmt: skip

    def ask(self, texts: Sequence[Text]) -> Answers:
        """Give the options of each prompt their probabilities.

        Raises
        ------
        AceError
            If an option is more than one digit or letter.
        ModelError
            If the server cannot be asked, or lists none of a prompt's options.
        """
        for option in dict.fromkeys(option for text in texts for option in text.options):
            if len(option.strip()) != 1:
                raise AceError(
                    "a server tells single tokens only", param="--marks", expected="one digit or letter per option",
                    got=repr(option), hint="use --marks auto or letters",
                )  # fmt: skip
        distinct = list(dict.fromkeys(texts))
        answers = dict(zip(distinct, in_threads(self._answer, distinct, WORKERS), strict=True))
        probs, unlisted = zip(*(answers[text] for text in texts), strict=True)
        return Answers(np.log(np.stack(probs)), np.array(unlisted))

    def rendered(self, text: Text) -> str:
        question = self._question(text)
        return str(question["prompt"]) if self.api == "completions" else json.dumps(question, ensure_ascii=False)

    def provenance(self) -> dict[str, Any]:
        versions = {name: version(name) for name in ("acecausal", "openai")}
        how = {"api": self.api, "top_logprobs": self.top}
        return {"model": self.model, "endpoint": self.origin, **how, "versions": versions}

    def _answer(self, text: Text) -> tuple[np.ndarray, float]:
        listed = self._listed(self._question(text))
        lead, share = space_first(listed, text.options) if self.api == "completions" else ("", 1.0)
        if lead:
            listed = self._listed(self._question(text, lead))
        if not spelled(listed, text.options).any():
            likeliest = sorted(listed.items(), key=lambda item: -item[1])[:5]
            raise ModelError(
                f"lists none of the options after {text.plain[:70]!r}...", param=self.model,
                expected="one of " + ", ".join(option.strip() for option in text.options),
                got=", ".join(f"{token!r} {p:.2g}" for token, p in likeliest),
                hint="try another template" if self.api == "completions" else "try the URL that ends in /v1",
            )  # fmt: skip
        probs, unlisted = option_probabilities(listed, text.options)
        return share * probs, share * unlisted

    def _question(self, text: Text, lead: str = "") -> dict[str, Any]:
        if self.api == "completions":
            return {"prompt": text.plain + lead}
        return {"messages": _turns(text)}

    def _listed(self, question: dict[str, Any]) -> dict[str, float]:
        """What the server lists after a question: as kept, or asked now."""

        def name(top: int) -> str:
            said = [self.api, self.origin + self._path, self.model, question, top]
            return sha256(json.dumps(said).encode()).hexdigest()

        for top in (self.top, FEWER):
            if (kept := self._kept.known.get(name(top))) is not None:
                self.top = top
                return kept
        top, reply = self._request(question)
        listed = self._read(reply)
        self._kept.add(name(top), listed)
        return listed

    def _request(self, question: dict[str, Any]) -> tuple[int, str]:
        """Ask for as many tokens as the server is willing to list: their number, and the reply."""
        import openai

        chat = self.api == "chat"
        create = (self._client.chat if chat else self._client).completions.with_raw_response.create
        while True:
            top = self.top
            how = {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}
            try:
                return top, create(model=self.model, max_tokens=1, temperature=0, **how, **question).text
            except openai.OpenAIError as error:
                refused = getattr(error, "status_code", None) in (400, 422) and "logprob" in str(error).lower()
                if top == FEWER or not refused:
                    raise self._explained(error) from None
                self.top = FEWER

    def _read(self, reply: str) -> dict[str, float]:
        try:
            listed = listed_tokens(json.loads(reply))
            problem, hint = "gives no log probabilities", "use a server or model that does, or the model in process"
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            listed, hint = {}, "the URL of an OpenAI-compatible server usually ends in /v1"
            problem = "answers no JSON" if isinstance(error, ValueError) else "answers in an unknown form"
        if not listed:
            raise ModelError(problem, param=self.origin, got=self._clean(reply)[:120], hint=hint)
        return listed

    def _explained(self, error: Exception) -> ModelError:
        import openai

        status = getattr(error, "status_code", 0)
        message, hint = _REFUSALS.get(status, ("answers with an error", ""))
        if isinstance(error, openai.APIConnectionError):
            message, hint = "cannot be reached", "is the server running, and is this its port?"
        if isinstance(error, openai.APITimeoutError):
            message, hint = f"gives no answer within {TIMEOUT:.0f} seconds", "is it still loading the model?"
        if self.retries and (status in (0, 408, 409, 429) or status >= 500):
            message += f", asked {self.retries + 1} times"
        return ModelError(message, param=self.origin, got=self._clean(str(error))[:300], hint=hint)

    def _clean(self, said: str) -> str:
        """Put a server's words on one line, and stars where it repeats what must not be shown."""
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return " ".join(said.split())


class _Kept:
    """Answers in a file, a JSON object per line, by question; a line that was cut off is passed over."""

    def __init__(self, store: str | Path | None) -> None:
        self._path, self._lock = Path(store) if store else None, threading.Lock()
        self.known: dict[str, dict[str, float]] = {}
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path and self._path.is_file() else ""
        if text and not text.startswith('{"key"'):
            raise AceError("holds no answers", param="store", got=self._path, hint="name another file")
        for line in text.splitlines():
            with suppress(ValueError, LookupError, TypeError):
                row = json.loads(line)
                self.known[row["key"]] = row["listed"]
        self._append("" if text[-1:] in ("", "\n") else "\n")  # a place that cannot be written shows now
        if self._path and not text:
            self._path.unlink()

    def add(self, key: str, listed: dict[str, float]) -> None:
        with self._lock:
            self._append(json.dumps({"key": key, "listed": listed}) + "\n")
            if self._path:
                self.known[key] = listed

    def _append(self, text: str) -> None:
        if self._path:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                raise AceError("cannot be written", param="store", got=f"{self._path}, {error.strerror}") from None


def split_url(url: str) -> tuple[str, str, str]:
    """Take a server's URL apart: API, scheme://host:port, path of the base; credentials and query are left out."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        raise AceError(
            "not the URL of a server", param="--endpoint", expected="such as http://localhost:8000/v1",
            got=url.rpartition("@")[2].partition("?")[0] or "nothing",
        )  # fmt: skip
    path = parts.path.rstrip("/")
    api = "chat" if path.endswith("/chat/completions") else "completions"
    host = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return api, origin, path.removesuffix("/completions").removesuffix("/chat" if api == "chat" else "")


def shown(url: str, text: Text) -> str:
    """Write a prompt out as the server at `url` gets it."""
    if split_url(url)[0] == "completions":
        return text.plain
    return "\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in _turns(text))


def _turns(text: Text) -> list[dict[str, str]]:
    turns = (("system", text.system), ("user", text.user))
    return [{"role": role, "content": content} for role, content in turns if content]
