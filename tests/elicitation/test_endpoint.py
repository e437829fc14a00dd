"""Any OpenAI-compatible server as a backend: a real HTTP server over a tiny random model, against the model itself."""

from __future__ import annotations

import json
import math
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from completion_server import NAME, CompletionServer, leaning

from acecausal.cube.files import countries_of, lattice_of, values_of
from acecausal.errors import AceError, ModelError
from align.elicitation import endpoint, threads
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.elicitation.endpoint import Endpoint, split_url
from align.prompting.prompts import lattice_texts
from align.prompting.wordings import Wording

DIGITS = Wording(marks="digits")

BARE = (Wording("ace-align", marks="digits"),)  # its options are bare digits after a line break
AT_ONCE = {"retry-after-ms": "1"}


def next_token(model, tokenizer, texts) -> np.ndarray:
    """Probabilities of all first tokens, shape (texts, vocabulary), in one right-padded pass."""
    rows = [tokenizer(text.plain)["input_ids"] for text in texts]
    ids = torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])
    with torch.inference_mode():
        logits = model(ids).logits[torch.arange(len(rows)), [len(row) - 1 for row in rows]]
    return logits.double().softmax(-1).numpy()


@pytest.fixture(scope="module")
def loaded(tiny_model):
    """Some options are among the 20 likeliest tokens and some are not."""
    return leaning(tiny_model, {"1": 3.0, "2": 2.0, "3": 1.5})


@pytest.fixture(scope="module")
def norway(human):
    return human.sel(country=["Norway"])


@pytest.fixture(scope="module")
def texts(norway):
    return lattice_texts(countries_of(norway)[0], values_of(norway)[0], lattice_of(norway), BARE[0])


@pytest.fixture(scope="module")
def known(loaded, norway):
    return elicit(InProcess(*loaded), norway, wordings=BARE)


@pytest.fixture(scope="module")
def first(loaded, texts):
    """What an undisturbed server with a short list says."""
    with CompletionServer(*loaded) as server:
        return Endpoint(server.url, NAME).ask(texts)


def same(answers, others) -> None:
    assert np.array_equal(answers.log_probs, others.log_probs)
    assert np.array_equal(answers.unlisted, others.unlisted)


# the numbers


@pytest.mark.parametrize(("rate", "wanted"), [(None, 8), (1.0, 8), (15.5, 31), (500.0, 64)])
def test_requests_under_way__are_what_the_rate_needs(texts, monkeypatch, rate, wanted):
    asked = []

    def noted(function, items, workers):
        asked.append((len(items), workers))
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint, "in_threads", noted)
    with pytest.raises(KeyboardInterrupt):
        Endpoint("http://localhost:1/v1", "x", per_second=rate).ask(texts)
    assert asked == [(len(texts), wanted)]


def test_endpoint__whole_vocabulary_equals_in_process(loaded, norway, known):
    """Oracle: the model in this process, on the same plain text. atol 1e-4 (fp32, packed against single)."""
    with CompletionServer(*loaded, list_all=True) as server:
        cube = elicit(Endpoint(server.url, NAME), norway, wordings=BARE)
        path, body, _ = server.requests[0]
    np.testing.assert_allclose(cube.response, known.response, atol=1e-4)
    np.testing.assert_allclose(cube["shift"], known["shift"], atol=1e-4)
    np.testing.assert_allclose(cube.option_mass, known.option_mass, rtol=1e-3)
    assert np.ptp(cube.response.values, axis=2).max() > 0.01  # personas matter, so the test can fail
    assert not cube.unlisted_mass.any()
    assert len(server.requests) == len(set(server.asked)) == 81 + 4 * 25  # a value; check questions, of 25 personas
    for name in ("implied", "drift", "heed"):
        np.testing.assert_allclose(cube[name], known[name], atol=1e-4)
    assert path == "/v1/completions"
    assert body["prompt"].endswith("\n\nAnswer:\n")
    assert {key: body[key] for key in ("max_tokens", "temperature", "logprobs")} == {
        "max_tokens": 1, "temperature": 0, "logprobs": 20,
    }  # fmt: skip
    assert {key: cube.attrs[key] for key in ("model", "endpoint", "api", "top_logprobs")} == {
        "model": NAME, "endpoint": server.url.removesuffix("/v1"), "api": "completions", "top_logprobs": 20,
    }  # fmt: skip


def test_endpoint__space_that_is_a_token_of_its_own(loaded, tiny_model, norway):
    """Oracle: the model in this process, which scores the space and the digit. atol 1e-4."""
    model, tokenizer = leaning(tiny_model, {"Ġ": 6.0})
    wanted = elicit(InProcess(model, tokenizer), norway, wordings=[DIGITS], checks=False)
    for spell in (None, lambda i: tokenizer.decode([i])):
        with CompletionServer(model, tokenizer, list_all=True, spell=spell) as server:
            cube = elicit(Endpoint(server.url, NAME), norway, wordings=[DIGITS], checks=False)
        np.testing.assert_allclose(cube.response, wanted.response, atol=1e-4)
        np.testing.assert_allclose(cube.option_mass, wanted.option_mass, rtol=1e-3)
        assert len(server.requests) == 162
        assert sum(body["prompt"].endswith("Answer: Option ") for _, body, _ in server.requests) == 81


def test_endpoint__short_list_is_completed_and_told(loaded, texts, first):
    """Oracle: the sorted probabilities of the model. rtol 1e-4."""
    digits = loaded[1].convert_tokens_to_ids(list("123"))
    short, none = 0, 0
    for p, log_probs, unlisted in zip(next_token(*loaded, texts), first.log_probs, first.unlisted, strict=True):
        least, rest = np.sort(p)[-20], 1 - np.sort(p)[-20:].sum()
        missing = p[digits] < least
        wanted = np.where(missing, min(least, rest / max(1, missing.sum())), p[digits])
        np.testing.assert_allclose(np.exp(log_probs), wanted, rtol=1e-4)
        assert unlisted == pytest.approx(rest if missing.any() else 0.0, rel=1e-4)
        short += missing.any()
        none += not missing.any()
    assert short > 5  # both cases occur, so the test can fail
    assert none > 5


def test_endpoint__chat_equals_in_process(loaded, tiny_model, norway):
    """Oracle: the model in this process with its chat template, no lead, bare digits. atol 1e-4."""
    model, tokenizer = leaning(tiny_model, {}, chat=True)
    texts = lattice_texts(countries_of(norway)[0], values_of(norway)[0], lattice_of(norway), DIGITS)
    bare = [replace(text, lead="", options=tuple(option.strip() for option in text.options)) for text in texts]
    with CompletionServer(model, tokenizer, list_all=True) as server:
        backend = Endpoint(f"{server.url}/chat/completions", NAME)
        answers = backend.ask(texts)
        wordless = backend.ask([replace(texts[0], system="")])
    path, body, _ = server.requests[0]
    assert path == "/v1/chat/completions"
    assert [turn["role"] for turn in body["messages"]] == ["system", "user"]
    assert [turn["role"] for turn in server.requests[-1][1]["messages"]] == ["user"]
    assert body["logprobs"] is True
    assert body["top_logprobs"] == 20
    np.testing.assert_allclose(answers.log_probs, InProcess(model, tokenizer).ask(bare).log_probs, atol=1e-4)
    assert not answers.unlisted.any()
    assert not np.array_equal(wordless.log_probs[0], answers.log_probs[0])
    assert backend.provenance()["api"] == "chat"


def test_endpoint__smaller_list_where_the_server_refuses(loaded, texts, tmp_path):
    store = tmp_path / "answers.jsonl"
    with CompletionServer(*loaded, cap=5) as server:
        p = next_token(*loaded, texts)
        digits = loaded[1].convert_tokens_to_ids(list("123"))
        lucky = [texts[i] for i in np.flatnonzero(p[:, digits].max(axis=1) >= np.sort(p)[:, -5])]
        assert len(lucky) > 10
        backend = Endpoint(server.url, NAME, store=store)
        answers = backend.ask(lucky)
        assert backend.provenance()["top_logprobs"] == 5
        tops = [body["logprobs"] for _, body, _ in server.requests]
        assert tops.count(5) == len(lucky)
        assert tops.count(20) <= endpoint.WORKERS
        again = Endpoint(server.url, NAME, store=store)
        same(again.ask(lucky), answers)
        assert again.provenance()["top_logprobs"] == 5
        assert len(server.requests) == len(tops)
    with CompletionServer(*loaded, cap=3) as server, pytest.raises(ModelError, match="max allowed: 3"):
        Endpoint(server.url, NAME).ask(texts[:1])


# trouble


def test_endpoint__busy_and_failing_server_gives_the_same(loaded, texts, first):
    def fault(number, body):
        return (503 if number % 2 else 429, {"error": "overloaded"}, AT_ONCE) if number % 3 == 0 else None

    with CompletionServer(*loaded, fault=fault) as server:
        same(Endpoint(server.url, NAME, retries=12).ask(texts), first)
    assert len(server.requests) == 81 + len(range(0, len(server.requests), 3))


def test_endpoint__waits_as_long_as_the_server_says(loaded, texts, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with CompletionServer(
        *loaded, fault=lambda number, body: (429, {}, {"Retry-After": "7"}) if number == 0 else None
    ) as server:
        Endpoint(server.url, NAME).ask(texts[:1])
    assert waits == [7.0]


@pytest.mark.parametrize("how", [ModelError, KeyboardInterrupt])
def test_endpoint__killed_run_goes_on_where_it_was(loaded, texts, first, tmp_path, how):
    store = tmp_path / "answers.jsonl"
    main, over = threading.main_thread().ident, threading.Event()

    def fault(number, body):
        if number < 30:
            return None
        if how is KeyboardInterrupt:
            if number == 30:
                signal.pthread_kill(main, signal.SIGINT)
            over.wait(20)
        return 418, {"error": {"message": "short and stout"}}, {}

    with CompletionServer(*loaded, fault=fault) as server:
        start = time.monotonic()
        with pytest.raises(how):
            Endpoint(server.url, NAME, store=store).ask(texts)
        assert time.monotonic() - start < 10
        over.set()
        while any(thread.name.endswith("(work)") for thread in threading.enumerate()):
            time.sleep(0.01)
        rows = [json.loads(line) for line in store.read_text().splitlines()]
        assert len({row["key"] for row in rows}) == len(rows) == 30  # what was under way is kept too
        with store.open("a") as file:
            file.write('{"key": "cut o')
        before = set(server.asked[:30])
        server.fault = lambda number, body: None
        server.requests.clear()
        same(Endpoint(server.url, NAME, store=store).ask(texts), first)
        assert len(server.requests) == 81 - 30
        assert not before & set(server.asked)
        same(Endpoint(server.url, NAME, store=store).ask(texts), first)
        assert len(server.requests) == 81 - 30
        with pytest.raises(ModelError, match="no such model"):  # what another model said is not taken
            Endpoint(server.url, "other", store=store).ask(texts)


def test_endpoint__per_second_spaces_all_starts(loaded, texts, first, monkeypatch):
    """A clock that stands still: the n-th start has to wait n/rate, repeated requests included."""
    waits = []
    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=waits.append))

    def fault(number, body):
        return (503, {}, AT_ONCE) if number == 3 else None

    with CompletionServer(*loaded, fault=fault) as server:
        same(Endpoint(server.url, NAME, per_second=4).ask(texts), first)
        np.testing.assert_allclose(sorted(waits), np.arange(1, 82) / 4)
        waits.clear()
        Endpoint(server.url, NAME).ask(texts[:9])
        assert not waits


# what a user can get wrong


def test_endpoint__options_of_several_tokens(texts):
    for options in (("Too little", "Too much", "x"), ("1", "2", "10"), ("1", "2", "")):
        with pytest.raises(AceError, match="single tokens only"):
            Endpoint("http://localhost:1/v1", NAME).ask([replace(texts[0], options=options)])


def test_endpoint__none_of_the_options_listed(loaded, tiny_model, texts):
    with CompletionServer(*loaded) as server:
        with pytest.raises(ModelError, match="lists none of the options") as caught:
            Endpoint(server.url, NAME).ask([replace(texts[0], options=("é", "ü", "ß"))])
        for part in (texts[0].plain[:30], "expected: one of é, ü, ß", "try another template"):
            assert part in str(caught.value)
        assert caught.value.got.count("'") == 10
    with (
        CompletionServer(*leaning(tiny_model, {}, chat=True)) as server,
        pytest.raises(ModelError, match="ends in /v1"),
    ):
        Endpoint(f"{server.url}/chat/completions", NAME).ask([replace(texts[0], options=("é", "ü", "ß"))])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ((401, {"error": {"message": "wrong key sk-secret"}}, {}), "refuses the key"),
        ((403, {"error": {"message": "not for sk-secret"}}, {}), "refuses the key"),
        ((404, {"error": {"message": "no model for sk-secret"}}, {}), "no such model"),
        ((400, {"error": {"message": "too long, sk-secret"}}, {}), "answers with an error\n.*too long, "),
        ((429, {"error": {"message": "slow down sk-secret"}}, AT_ONCE), "no more requests through, asked 2 times"),
        ((503, "<html>loading sk-secret</html>", AT_ONCE), "answers with an error, asked 2 times"),
        ((200, "<html>hello sk-secret</html>", {}), "answers no JSON\n.*hello"),
        ((200, {"hello": "sk-secret"}, {}), "answers in an unknown form"),
        ((200, ["sk-secret"], {}), "answers in an unknown form"),
        ((200, {"choices": [{"text": "sk-secret", "logprobs": None}]}, {}), "gives no log probabilities"),
    ],
)
def test_endpoint__answers_that_are_none(loaded, texts, tmp_path, said, message):
    store = tmp_path / "answers.jsonl"
    with CompletionServer(*loaded, fault=lambda number, body: said) as server:
        url = server.url.replace("//", "//user:sk-secret@") + "?token=sk-secret"
        backend = Endpoint(url, NAME, key="sk-secret", retries=1, store=store)
        with pytest.raises(ModelError, match=message) as caught:
            backend.ask(texts[:20])
    assert server.url.removesuffix("/v1") in str(caught.value)
    assert "token=sk-secret" in server.requests[0][0]
    for shown in (str(caught.value), json.dumps(backend.provenance())):
        assert "secret" not in shown
    assert "***" in str(caught.value) or said[0] == 503
    assert caught.value.__cause__ is None
    assert not store.exists()


def test_endpoint__key(loaded, texts, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with CompletionServer(*loaded) as server:
        Endpoint(server.url, NAME).ask(texts[:1])
        monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
        Endpoint(server.url, NAME).ask(texts[:1])
        Endpoint(server.url, NAME, key="given").ask(texts[:1])
    sent = [headers["Authorization"] for _, _, headers in server.requests]
    assert sent == ["Bearer none", "Bearer from-environment", "Bearer given"]


def test_endpoint__nobody_there(texts):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match=f"http://127.0.0.1:{port}: cannot be reached\n"):
        Endpoint(f"http://127.0.0.1:{port}/v1", NAME, retries=0).ask(texts)


def test_endpoint__no_answer_in_time(loaded, texts, monkeypatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.1)
    with CompletionServer(*loaded, fault=lambda number, body: time.sleep(0.5)) as server:
        with pytest.raises(ModelError, match="gives no whole answer within"):
            Endpoint(server.url, NAME, retries=0).ask(texts[:1])
        time.sleep(0.6)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "me:sk-secret@host/v1", "ftp://host/v1", "http://host:port/v1", "http://"]
)
def test_endpoint__malformed_url(url):
    with pytest.raises(AceError, match="not the URL of a server") as caught:
        Endpoint(url, NAME)
    assert "secret" not in str(caught.value)


def test_split_url():
    assert split_url("http://h:1/v1/") == ("completions", "http://h:1", "/v1")
    assert split_url("http://h:1/v1/completions") == ("completions", "http://h:1", "/v1")
    assert split_url("https://me:pw@h/a/v1/chat/completions?x=1") == ("chat", "https://h", "/a/v1")
    assert split_url("http://[::1]:80") == ("completions", "http://[::1]:80", "")


def test_endpoint__other_mistakes(tmp_path, monkeypatch):
    for rate in (0, -1.0, math.nan, math.inf):
        with pytest.raises(AceError, match="per_second"):
            Endpoint("http://h/v1", NAME, per_second=rate)
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes\n")
    with pytest.raises(AceError, match="holds no answers"):
        Endpoint("http://h/v1", NAME, store=notes)
    assert notes.read_text() == "my notes\n"
    with pytest.raises(AceError, match="cannot be written"):
        Endpoint("http://h/v1", NAME, store=tmp_path / "none" / "answers.jsonl")
    with pytest.raises(AceError, match="cannot be written"):
        Endpoint("http://h/v1", NAME, store=tmp_path)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(AceError, match=r"pip install 'acecausal\[endpoint\]'"):
        Endpoint("http://h/v1", NAME)
