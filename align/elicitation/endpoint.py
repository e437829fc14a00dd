"""Answers from any OpenAI-compatible server, read off the likeliest tokens it lists."""

from __future__ import annotations

import json
import math
import os
import re
import weakref
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

import numpy as np

from acecausal.errors import AceError, ModelError
from align.elicitation.backends import Answers
from align.elicitation.listed import (
    ImpossibleError,
    Listed,
    listed_tokens,
    option_probabilities,
    parsed,
    space_first,
    thoughts,
)
from align.elicitation.replies import KeptReplies
from align.elicitation.threads import Pace, in_threads
from align.prompting.templates import Text

#: How many tokens a server is asked to list, and how many if it refuses that.
LISTED, FEWER = 20, 5
#: Requests under way at once: as usual, and at most, where `per_second` wants more of them; then as many as are let
#: through in two seconds, which is how long an answer may take before the rate is not reached.
WORKERS, MOST_WORKERS, PATIENCE = 8, 64, 2.0
#: Seconds to wait for one whole reply.
TIMEOUT = 120.0
#: How likely a server must think first, before its answers count for nothing.
MOSTLY = 0.5

_REFUSALS = {
    401: ("refuses the key", "set OPENAI_API_KEY to a key of this server"),
    403: ("refuses the key", "set OPENAI_API_KEY to a key that may use this model"),
    404: (
        "knows no such model, or no such path",
        "see the server's /v1/models; one for chats only needs a URL ending in /chat/completions",
    ),
    429: ("lets no more requests through", "ask for fewer per second, or run again later"),
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is read off the lists after one prompt: see `align.elicitation.listed.option_probabilities`."""

    probs: np.ndarray
    unlisted: float
    imputed: float


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
        Most requests started per second, repeated ones included. All prompts of a question are asked concurrently, 8 at
        a time, or as many as this lets through in two seconds, up to 64; servers batch what is under way at once.
    retries : int
        How often a request is repeated when the server is busy, failing or not reached.
    store : str or Path, optional
        A JSONL file that keeps each answer as it comes, so that a run that was killed asks nothing twice.
    template_args : mapping, optional
        More that a chat server's template is told.

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
        store: str | Path | None = None, template_args: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        try:
            import openai
        except ImportError:
            raise AceError("openai is not installed", param=url, hint="pip install 'acecausal[endpoint]'") from None
        self.model, self.retries, self.top = model, retries, LISTED
        self.api, self.origin, self._path = split_url(url)
        if template_args and self.api != "chat":
            raise AceError(
                "goes to a chat server only", param="--template-arg", hint="a URL that ends in /chat/completions"
            )
        self._args, self._merged = dict(template_args), False
        self._short: list[Text] = []
        self._answered, self._none = False, ("", Listed({}, 0))
        self._kept = KeptReplies(store)
        parts, key = urlsplit(url), key or os.environ.get("OPENAI_API_KEY") or ""
        query = parse_qsl(parts.query)
        self._secrets = _spellings(key, parts.username, parts.password, *(value for _, value in query))
        from align.elicitation.bounded import BoundedClient

        try:
            http = BoundedClient(Pace(per_second).wait, TIMEOUT)
            weakref.finalize(self, http.close)
            self._client: Any = openai.OpenAI(
                base_url=f"{parts.scheme}://{parts.netloc}{self._path}", default_query=dict(query),
                api_key=key or "none", max_retries=retries, timeout=2 * TIMEOUT, http_client=http,
            )  # fmt: skip
            self._client.base_url.host.encode("idna")
        except AceError:
            raise
        except Exception as error:  # whatever the URL's parser meets
            raise _no_url(url) from error
        self.workers = min(max(WORKERS, math.ceil(PATIENCE * (per_second or 0.0))), MOST_WORKERS)

    def ask(self, texts: Sequence[Text]) -> Answers:
        """Give the options of each prompt their probabilities.

        Raises
        ------
        AceError
            If an option is more than one digit or letter.
        ModelError
            If the server cannot be asked, thinks first, gives impossible numbers, or has not listed an option yet. Once
            it has, a prompt of which it lists none is missing.
        """
        for option in dict.fromkeys(option for text in texts for option in text.options):
            if len(option.strip()) != 1:
                raise AceError(
                    "a server tells single tokens only", param="--marks", expected="one digit or letter per option",
                    got=repr(option), hint="use --marks digits or letters",
                )  # fmt: skip
        distinct = list(dict.fromkeys(texts))
        answers = dict(zip(distinct, in_threads(self._answer, distinct, self.workers), strict=True))
        found = [answers[text] for text in texts]
        self._answered = self._answered or any(math.isfinite(answer.imputed) for answer in found)
        if found and not self._answered:
            self._refuse_lists(texts[0])
        unlisted, imputed = (np.array([getattr(a, name) for a in found]) for name in ("unlisted", "imputed"))
        return Answers(np.log(np.stack([answer.probs for answer in found])), unlisted, imputed)

    def _refuse_lists(self, text: Text) -> None:
        prompt, listed = self._none
        likeliest = sorted(listed.tokens.items(), key=lambda item: -item[1])[:5]
        raise ModelError(
            f"lists none of the options after {prompt[:70]!r}...", param=self.model,
            expected="one of " + ", ".join(option.strip() for option in text.options),
            got=", ".join(f"{token!r} {p:.2g}" for token, p in likeliest),
            hint="try another template" if self.api == "completions" else "try the URL that ends in /v1",
        )  # fmt: skip

    def rendered(self, text: Text) -> str:
        question = self._question(text, "", self._merged)
        return str(question["prompt"]) if self.api == "completions" else json.dumps(question, ensure_ascii=False)

    def provenance(self) -> dict[str, Any]:
        versions = {name: version(name) for name in ("acecausal", "openai")}
        how: dict[str, Any] = {"api": self.api, "top_logprobs": self.top}
        if self.api == "chat":
            how["chat_turns"] = "user, which begins with the system text" if self._merged else "system, user"
            how |= {"chat_template_args": self._args} if self._args else {}
        if self._short:
            how["short_lists"] = len(set(self._short))
        return {"model": self.model, "endpoint": self.origin, **how, "versions": versions}

    def _answer(self, text: Text) -> _Answer:
        listed = self._listed(text)
        lead, share = space_first(listed.tokens, text.options) if self.api == "completions" else ("", 1.0)
        if lead:
            listed = self._listed(text, lead)
        if (likely := thoughts(listed.tokens)) > MOSTLY:
            raise ModelError(
                f"thinks before it answers (probability {likely:.2g})",
                param=self.model,
                expected="an answer at once",
                hint="a chat server may take --template-arg enable_thinking=false; else ask another model",
            )
        if listed.lost(self.top):
            self._short.append(text)
        probs, unlisted, imputed = option_probabilities(listed.tokens, text.options)
        if math.isnan(imputed):
            self._none = (text.plain, listed)
        return _Answer(share * probs, share * unlisted, imputed)

    def _question(self, text: Text, lead: str, merged: bool) -> dict[str, Any]:
        if self.api == "completions":
            return {"prompt": text.plain + lead}
        told = {"extra_body": {"chat_template_kwargs": self._args}} if self._args else {}
        return {"messages": _turns(text, merged), **told}

    def _listed(self, text: Text, lead: str = "") -> Listed:
        """What the server lists after a question: as kept, or asked now."""

        def name(top: int, merged: bool) -> str:
            said = [self.api, self.origin + self._path, self.model, self._question(text, lead, merged), top]
            return sha256(json.dumps(said).encode()).hexdigest()

        for top in (self.top, FEWER):
            for merged in (self._merged, True):
                if (kept := self._kept.known.get(name(top, merged))) is not None:
                    self.top, self._merged = top, merged
                    return kept
        top, merged, reply = self._request(text, lead)
        listed = self._read(reply)
        self._kept.add(name(top, merged), listed)
        return listed

    def _request(self, text: Text, lead: str) -> tuple[int, bool, str]:
        """Ask for as many tokens as the server is willing to list, with a system turn where it takes one.

        Returns
        -------
        top : int
            How many tokens were asked for.
        merged : bool
            Whether the system text stands in the user's turn.
        reply : str
        """
        import openai

        chat = self.api == "chat"
        create = (self._client.chat if chat else self._client).completions.with_raw_response.create
        merged, first = self._merged, None
        while True:
            top = self.top
            how = {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}
            try:
                question = self._question(text, lead, merged)
                reply = create(model=self.model, max_tokens=1, temperature=0, **how, **question).text
            except openai.OpenAIError as error:
                if _about_lists(error) and top != FEWER:
                    self.top = FEWER
                elif chat and text.system and not merged and _about_turns(error):
                    merged, first = True, error
                elif first is not None:
                    said = self._explained(first)
                    hint = f"asked again without a system turn it {self._explained(error).message}"
                    raise ModelError(said.message, param=self.origin, got=said.got, hint=hint) from None
                else:
                    raise self._explained(error) from None
            else:
                self._merged = merged
                return top, merged, reply

    def _read(self, reply: str) -> Listed:
        usual = "the URL of an OpenAI-compatible server usually ends in /v1"
        try:
            told = parsed(reply)
            if isinstance(told, dict) and told.get("error") and not told.get("choices"):
                raise ModelError(
                    "answers with an error", param=self.origin, got=self._clean(json.dumps(told["error"]))[:300],
                    hint="run again later: what has been answered is kept",
                )  # fmt: skip
            listed = listed_tokens(told)
        except ImpossibleError as error:
            raise ModelError(
                "gives numbers that cannot be", param=self.origin, expected="log probabilities, 0 at most",
                got=self._clean(str(error)), hint="mend the server, or ask the model in this process",
            ) from None  # fmt: skip
        except ValueError as error:
            problem = "answers JSON that is nested too deep" if "nested" in str(error) else "answers no JSON"
            raise ModelError(problem, param=self.origin, got=self._clean(reply)[:120], hint=usual) from None
        except (LookupError, TypeError, AttributeError):
            raise ModelError(
                "answers in an unknown form", param=self.origin, got=self._clean(reply)[:120], hint=usual
            ) from None
        if not listed.tokens:
            hint = "use a server or model that does, or the model in process"
            raise ModelError("gives no log probabilities", param=self.origin, got=self._clean(reply)[:120], hint=hint)
        return listed

    def _explained(self, error: Exception) -> ModelError:
        import openai

        from align.elicitation.bounded import Unusable

        status, said = getattr(error, "status_code", 0), self._clean(str(error))[:300]
        message, hint = _REFUSALS.get(status, ("answers with an error", ""))
        if isinstance(error, openai.APIConnectionError):
            message, hint = "cannot be reached", "is the server running, and is this its port?"
            said = self._clean(str(error.__cause__ or error))[:300]
            if type(error.__cause__).__name__ in ("RemoteProtocolError", "ReadError"):
                message, hint = "breaks the connection off", "look at what it says itself"
        if isinstance(error, openai.APITimeoutError):
            message, hint = f"gives no whole answer within {TIMEOUT:.0f} seconds", "is it still loading the model?"
            said = ""
        if isinstance(error, Unusable):
            message, hint, said = self._clean(str(error)), error.hint, ""
        request = getattr(error, "request", None)
        times = 1 + int(request.headers.get("x-stainless-retry-count", 0)) if request is not None else 1
        if times > 1:
            message += f", asked {times} times"
        wait = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
        if wait and status in (429, 503):
            told = self._clean(wait)[:40]
            how_long = f"{told} seconds" if told.isdigit() else f"until {told}"
            hint = f"{hint or 'run again later'}; it asks to wait {how_long}"
        return ModelError(message, param=self.origin, got=said, hint=hint)

    def _clean(self, said: str) -> str:
        """Put a server's words on one line, with stars for what must not be shown, and nothing a terminal obeys."""
        said = "".join(c for c in " ".join(said.split()) if c.isprintable())
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return said


def _spellings(key: str, user: str | None, password: str | None, *values: str) -> list[str]:
    """List the ways in which a server may repeat what must not be shown, long ones first."""
    said = [key, *values, *(unquote(part) for part in (user, password) if part)]
    basic = b64encode(f"{unquote(user or '')}:{unquote(password or '')}".encode()).decode() if user or password else ""
    ways = {
        way
        for secret in (*said, basic, user, password)
        if secret
        for way in (secret, quote(secret, safe=""), quote_plus(secret))
    }
    return sorted(ways, key=len, reverse=True)


def _about_lists(error: Any) -> bool:
    """Whether a server refuses to list as many tokens."""
    return getattr(error, "status_code", None) in (400, 422) and "logprob" in str(error).lower()


def _about_turns(error: Any) -> bool:
    """Whether a server may refuse a system turn: it need not say so (vLLM: "roles must alternate"; llama.cpp: 500)."""
    status = getattr(error, "status_code", None)
    return status in (400, 422) or (
        status == 500 and bool(re.search("role|system|template", str(error), re.IGNORECASE))
    )


def split_url(url: str) -> tuple[str, str, str]:
    """Take a server's URL apart: API, scheme://host:port, path of the base; credentials and query are left out."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        raise _no_url(url)
    path = parts.path.rstrip("/")
    api = "chat" if path.endswith("/chat/completions") else "completions"
    host = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return api, origin, path.removesuffix("/completions").removesuffix("/chat" if api == "chat" else "")


def _no_url(url: str) -> AceError:
    got = "".join(c for c in url.rpartition("@")[2].partition("?")[0] if c.isprintable())
    return AceError(
        "not the URL of a server", param="--endpoint", expected="such as http://localhost:8000/v1",
        got=got[:100] or "nothing",
    )  # fmt: skip


def shown(url: str, text: Text) -> str:
    """Write a prompt out as the server at `url` gets it."""
    if split_url(url)[0] == "completions":
        return text.plain
    return "\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in _turns(text))


def _turns(text: Text, merged: bool = False) -> list[dict[str, str]]:
    if merged and text.system:
        return [{"role": "user", "content": f"{text.system}\n\n{text.user}"}]
    turns = (("system", text.system), ("user", text.user))
    return [{"role": role, "content": content} for role, content in turns if content]
