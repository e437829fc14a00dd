"""Servers that are broken or mean harm: one message within limits, and nothing kept. Real servers on loopback."""

from __future__ import annotations

import gzip
import json
import math
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from completion_server import NAME, CompletionServer
from lists import chat_list, plain_list

from acecausal.errors import AceError, ModelError
from align.elicitation import bounded, endpoint
from align.elicitation.bounded import LARGEST, Unusable, unpacked
from align.elicitation.endpoint import Endpoint
from align.prompting.templates import Text

OPTIONS = ("1", "2", "3")
TEXT = Text("Answer.", "What?\n1. a\n2. b\n3. c", "", OPTIONS, chat=True)
GOOD = plain_list({"1": math.log(0.5), "2": math.log(0.3), "3": math.log(0.2)}.items())


def serving(*faults) -> CompletionServer:
    """Say these things one after the other, and the last one ever after; no model is behind it."""
    return CompletionServer(None, NoModel, fault=lambda number, body: faults[min(number, len(faults) - 1)])


class NoModel:
    convert_ids_to_tokens = None


def chunked(pieces, pause: float = 0.0):
    def say(handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return say


def headers_forever(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(100):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)
    handler.close_connection = True


def cut_off(handler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices"')
    handler.close_connection = True


def bomb(handler) -> None:
    packed = gzip.compress(bytes(4 * LARGEST))
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(packed)))
    handler.end_headers()
    handler.wfile.write(packed)


def impossible(*pairs):
    return 200, json.dumps(plain_list(pairs)), {}


WRONG = {
    "without end": ((200, chunked(b" " * (1 << 20) for _ in range(1000)), {}), "sends more than 16 MB"),
    "packed": ((200, bomb, {}), "sends more than 16 MB, packed into 64 kB"),
    "packed otherwise": ((200, b"\x28\xb5", {"Content-Encoding": "zstd"}), "packs its replies.*'zstd'"),
    "badly packed": ((200, b"nothing", {"Content-Encoding": "gzip"}), "cannot be unpacked"),
    "nested": ((200, "[" * 100_000 + "]" * 100_000, {}), "answers JSON that is nested too deep"),
    "digits": ((200, '{"choices": [{"logprobs": {"top_logprobs": [{"1": %s}]}}]}' % ("9" * 5000), {}), "no JSON"),
    "no number": (impossible(("1", math.nan)), "gives numbers that cannot be\n.*\n.*nan"),
    "infinite": (impossible(("1", math.inf)), "gives numbers that cannot be\n.*\n.*inf"),
    "above 0": (impossible(("1", 1.0)), "gives numbers that cannot be\n.*\n.*1.0"),
    "above 1": (impossible(("1", 0.0), ("2", 0.0)), "gives numbers that cannot be\n.*\n.*sum to 2"),
    "texts": (impossible(("1", "-1")), "answers in an unknown form"),
    "cut off": ((200, cut_off, {}), "breaks the connection off"),
    "elsewhere": ((307, "", {"Location": "http://example.invalid:81/v1?key=x"}), "redirects to http://example.invalid:81\n"),
    "to a file": ((308, "", {"Location": "file:///etc/passwd"}), "redirects to file:/etc/passwd"),
    "in circles": ((307, "", {"Location": "/v1/completions"}), "redirects more than 3 times"),
    "to nowhere": ((307, "", {"Location": "http://[::1"}), "redirects to http://"),
    "error and 200": ((200, {"error": {"message": "busy", "code": 503}}, {}), "answers with an error\n.*busy"),
    "wait until": ((429, {}, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}), "wait until Wed, 21 Oct 2099 07:28"),
    "wait a day": ((429, {}, {"Retry-After": "86400"}), "no more requests(.*\n)*.*asks to wait 86400 seconds"),
}  # fmt: skip


@pytest.mark.parametrize(("said", "message"), WRONG.values(), ids=WRONG)
def test_endpoint__one_message_and_nothing_kept(tmp_path, said, message):
    store = tmp_path / "answers.jsonl"
    with serving(said) as server:
        backend = Endpoint(server.url, NAME, retries=0, store=store)
        with pytest.raises(ModelError, match=message) as caught:
            backend.ask([TEXT])
    assert len(str(caught.value).splitlines()) <= 4
    assert str(caught.value).startswith(server.url.removesuffix("/v1"))
    assert not store.exists()


@pytest.mark.parametrize("say", [chunked([b" "] * 100, pause=0.05), headers_forever, lambda handler: time.sleep(3)])
def test_endpoint__time_is_for_the_whole_reply(monkeypatch, say):
    """Each byte comes soon enough, all of them never. A server that has not answered yet is not asked again."""
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.4)
    with serving((200, say, {})) as server:
        with pytest.raises(ModelError, match="gives no whole answer within"):
            Endpoint(server.url, NAME, retries=3).ask([TEXT])
        assert len(server.requests) == 1


def test_endpoint__one_lost_reply_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 1.0)
    with serving((200, GOOD, {}), (200, lambda handler: time.sleep(3), {}), (200, GOOD, {})) as server:
        backend = Endpoint(server.url, NAME)
        backend.ask([TEXT])
        answers = backend.ask([replace(TEXT, user="Again?")])
    np.testing.assert_allclose(np.exp(answers.log_probs), [[0.5, 0.3, 0.2]], rtol=1e-12)


@pytest.mark.parametrize("pack", ["gzip", "deflate"])
def test_endpoint__packed_reply_is_read(pack):
    body = json.dumps(GOOD).encode()
    packed = gzip.compress(body) if pack == "gzip" else zlib.compress(body)
    with serving((200, packed, {"Content-Encoding": pack})) as server:
        answers = Endpoint(server.url, NAME).ask([TEXT])
    np.testing.assert_allclose(np.exp(answers.log_probs), [[0.5, 0.3, 0.2]], rtol=1e-12)
    assert server.requests[0][2]["Accept-Encoding"] == "gzip, deflate"


def test_unpacked__up_to_the_limit(monkeypatch):
    monkeypatch.setattr(bounded, "LARGEST", 1000)
    assert unpacked(gzip.compress(bytes(1000)), " GZIP ") == bytes(1000)
    packed = gzip.compress(bytes(1 << 24))
    tracemalloc.start()
    with pytest.raises(Unusable, match="sends more than"):
        unpacked(packed, "gzip")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20  # what lies beyond the limit is not unpacked at all


def test_endpoint__redirect_elsewhere_gets_nothing():
    with (
        serving((200, GOOD, {})) as other,
        serving((307, "", {"Location": f"{other.url}/completions"})) as server,
        pytest.raises(ModelError, match="redirects to"),
    ):
        Endpoint(server.url, NAME, key="sk-secret").ask([TEXT])
    assert not other.requests


def test_endpoint__redirect_within_the_place_is_followed():
    with serving((307, "", {"Location": "/v2/completions"}), (200, GOOD, {})) as server:
        answers = Endpoint(server.url, NAME).ask([TEXT])
    assert [path for path, _, _ in server.requests] == ["/v1/completions", "/v2/completions"]
    assert server.requests[1][1] == server.requests[0][1]
    np.testing.assert_allclose(np.exp(answers.log_probs), [[0.5, 0.3, 0.2]], rtol=1e-12)


def test_endpoint__a_bad_reply_poisons_no_later_run(tmp_path):
    """Also not where an earlier version, or another program, left such a line."""
    store = tmp_path / "answers.jsonl"
    with serving(impossible(("1", math.inf))) as server:
        with pytest.raises(ModelError):
            Endpoint(server.url, NAME, store=store).ask([TEXT])
        server.fault = lambda number, body: (200, GOOD, {})
        wanted = Endpoint(server.url, NAME, store=store).ask([TEXT])
        row = json.loads(store.read_text())
        for listed in ({"1": math.inf}, {"1": math.nan}, {"1": -0.5}, {"1": "x"}, {"1": 7.0}, {}, [], None):
            store.write_text(json.dumps({**row, "listed": listed}) + "\n")
            again = Endpoint(server.url, NAME, store=store).ask([TEXT])
            assert np.array_equal(again.log_probs, wanted.log_probs)
        asked = len(server.requests)
        Endpoint(server.url, NAME, store=store).ask([TEXT])  # and what is right is taken
        assert len(server.requests) == asked


@pytest.mark.parametrize(
    "mine",
    ['{"key": "mine", "text": "my own notes"}', '{"key"', "notes", '[{"key": 1}]', '{"key": 1, "listed": {}}\n{}'],
)
def test_endpoint__a_users_own_file_is_no_store(tmp_path, mine):
    """It was taken for one if it began alike, and deleted when the cube was written."""
    store = tmp_path / "cube.nc.answers.jsonl"
    store.write_text(mine)
    with pytest.raises(AceError, match="holds no answers"):
        Endpoint("http://127.0.0.1:9/v1", NAME, store=store)
    assert store.read_text() == mine


def test_endpoint__a_mark_of_utf_8_before_the_reply():
    with serving((200, "\ufeff" + json.dumps(GOOD), {})) as server:
        answers = Endpoint(server.url, NAME).ask([TEXT])
    np.testing.assert_allclose(np.exp(answers.log_probs), [[0.5, 0.3, 0.2]], rtol=1e-12)


def test_endpoint__nothing_that_a_terminal_obeys():
    for said in ((404, {"error": {"message": "\x1b[2J\x1b]0;owned\x07 \u202ered"}}, {}), (200, "\x1b[31m\x9b no", {})):
        with serving(said) as server, pytest.raises(ModelError) as caught:
            Endpoint(server.url, NAME).ask([TEXT])
        assert all(c.isprintable() or c == "\n" for c in str(caught.value))
    listed = plain_list({"\x1b[31mred": -0.1, "\ud800": -3.0}.items())
    with serving((200, listed, {})) as server, pytest.raises(ModelError, match="lists none") as caught:
        Endpoint(server.url, NAME).ask([TEXT])
    str(caught.value).encode()
    assert "\x1b" not in str(caught.value)


def test_endpoint__stars_for_all_of_the_address_that_may_be_secret():
    def echo(number, body):
        return 404, {"error": {"message": " ".join([server.requests[-1][0], *server.requests[-1][2].values()])}}, {}

    secrets = ("us3r", "p%40ss", "p@ss", "qu3ry tok", "qu3ry%20tok", "qu3ry+tok", "sk-k3y", "dXMzcjpwQHNz")
    with CompletionServer(None, NoModel, fault=echo) as server:
        url = server.url.replace("//", "//us3r:p%40ss@") + "?token=qu3ry%20tok"
        with pytest.raises(ModelError, match=r"\*\*\*") as caught:
            Endpoint(url, NAME, key="sk-k3y").ask([TEXT])
    assert not [secret for secret in secrets if secret in str(caught.value)]


def test_endpoint__certificate_that_nobody_signed(tmp_path):
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-keyout", "key.pem", "-out", "cert.pem"]  # fmt: skip
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                context.wrap_socket(listening.accept()[0], server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ModelError, match=r"has a certificate that is not trusted.*self-signed"):
            Endpoint(f"https://127.0.0.1:{listening.getsockname()[1]}/v1", NAME).ask([TEXT])


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "[::1", "\x1b[31m", "host:99999", f"{'a' * 70}.com"])
def test_endpoint__names_that_no_host_has(host):
    with pytest.raises(AceError, match="not the URL of a server") as caught:
        Endpoint(f"http://{host}/v1", NAME)
    assert "\x1b" not in str(caught.value)
    Endpoint("http://[::1]:80/v1", NAME)


# odd, but no harm meant


def chat_reply(pairs):
    return 200, chat_list(pairs), {}


LISTED = [("1", math.log(0.5)), ("2", math.log(0.3)), ("3", math.log(0.2))]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_endpoint__server_that_takes_no_system_turn(tmp_path, status):
    """As in process: the system text stands at the head of the user's turn, from then on, and it is said."""

    def fault(number, body):
        if body["messages"][0]["role"] == "system":
            return status, {"error": {"message": "Conversation roles must alternate"}}, {"x-should-retry": "false"}
        return chat_reply(LISTED)

    store, other = tmp_path / "answers.jsonl", replace(TEXT, user="And?")
    with CompletionServer(None, NoModel, fault=fault) as server:
        backend = Endpoint(f"{server.url}/chat/completions", NAME, store=store)
        backend.ask([TEXT])
        answers = backend.ask([other])
        assert [len(body["messages"]) for _, body, _ in server.requests] == [2, 1, 1]
        assert server.requests[1][1]["messages"] == [{"role": "user", "content": f"{TEXT.system}\n\n{TEXT.user}"}]
        again = Endpoint(f"{server.url}/chat/completions", NAME, store=store)
        assert np.array_equal(again.ask([other]).log_probs, answers.log_probs)
        assert len(server.requests) == 3
    for asked in (backend, again):
        assert asked.provenance()["chat_turns"] == "user, which begins with the system text"
    refusal = 400, {"error": {"message": "too long"}}, {}
    with (
        serving(refusal, (418, {"error": {"message": "no"}}, {})) as server,
        pytest.raises(ModelError, match=r"too long\n.*asked again without a system turn it answers with an error"),
    ):
        Endpoint(f"{server.url}/chat/completions", NAME).ask([TEXT])


def test_endpoint__chat_server_is_told_more():
    with serving(chat_reply(LISTED)) as server:
        url = f"{server.url}/chat/completions"
        said = Endpoint(url, NAME, template_args={"enable_thinking": False})
        said.ask([TEXT])
        Endpoint(url, NAME).ask([TEXT])
        with pytest.raises(AceError, match="--template-arg"):
            Endpoint(server.url, NAME, template_args={"enable_thinking": False})
    assert [body.get("chat_template_kwargs") for _, body, _ in server.requests] == [{"enable_thinking": False}, None]
    assert said.provenance()["chat_template_args"] == {"enable_thinking": False}


def test_endpoint__server_that_thinks_first():
    pairs = [("<think>", math.log(0.9)), ("1", -5.0), ("2", -6.0), ("3", -7.0)]
    with (
        serving(chat_reply(pairs)) as server,
        pytest.raises(ModelError, match=r"(?s)thinks before it answers \(probability 0.9\).*enable_thinking=false"),
    ):
        Endpoint(f"{server.url}/chat/completions", NAME).ask([TEXT])


def test_endpoint__one_prompt_without_a_listed_option():
    texts = [replace(TEXT, user=user) for user in ("One?", "Two?", "Three?")]

    def fault(number, body):
        return (200, plain_list([("the", -0.1)]), {}) if "Two" in body["prompt"] else (200, GOOD, {})

    with CompletionServer(None, NoModel, fault=fault) as server:
        answers = Endpoint(server.url, NAME).ask(texts)
        assert np.isnan(answers.log_probs).all(axis=1).tolist() == [False, True, False]
        assert np.isnan(answers.imputed).tolist() == [False, True, False]
        backend = Endpoint(server.url, NAME)
        with pytest.raises(ModelError, match="lists none of the options after"):  # the first that is asked
            backend.ask(texts[1:2])
        backend.ask(texts)
        assert np.isnan(backend.ask(texts[1:2]).log_probs).all()


def test_endpoint__a_token_that_fell_out_is_counted():
    """Of two tokens of one spelling the server tells one: three of 20 are listed, and .15 of probability is nowhere."""
    short = plain_list({"1": math.log(0.15), "2": math.log(0.3), "3": math.log(0.4)}.items())

    def fault(number, body):
        return (200, short, {}) if "Two" in body["prompt"] else (200, GOOD, {})

    with CompletionServer(None, NoModel, fault=fault) as server:
        backend = Endpoint(server.url, NAME)
        backend.ask([TEXT])
        assert "short_lists" not in backend.provenance()
        backend.ask([replace(TEXT, user="Two?")])
        assert backend.provenance()["short_lists"] == 1
