"""An HTTP client that trusts no server: replies of bounded size, in bounded time, from the place that was asked."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import openai

#: Most bytes of a reply, as it comes and unpacked; the whole vocabulary of a large model, listed, is some 10 MB.
LARGEST = 1 << 24
#: Most redirections within the place that was asked.
HOPS = 3


class Unusable(openai.OpenAIError):  # of openai's own kind, which its client passes on and does not ask again for
    """A reply that is not taken: what is wrong with it, and the next thing to try."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class BoundedClient(openai.DefaultHttpxClient):
    """An HTTP client as openai takes it, with limits.

    Parameters
    ----------
    wait : callable
        Called before each request.
    seconds : float
        Most time for a whole reply, from the start of the request. A server that has answered before is asked once
        more.

    Raises
    ------
    Unusable
        By `send`: a reply that is too long, packed in an unknown way, or redirects to another place; a certificate or
        host name that asking again does not mend.
    openai.APITimeoutError
        By `send`, after `seconds`.
    """

    def __init__(self, wait: Callable[[], None], seconds: float) -> None:
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "gzip, deflate"}, timeout=2 * seconds)
        self._pause, self._seconds, self._answered = wait, seconds, False

    def send(self, request: Any, **how: Any) -> Any:
        for _hop in range(HOPS + 1):
            reply = self._whole(request, {**how, "stream": True})
            onward = reply.headers.get("location", "")
            if not 300 <= reply.status_code < 400 or not onward:
                self._answered = True
                return reply
            try:
                there = request.url.join(onward)
            except Exception:  # whatever the URL's parser meets
                there = None
            if there is None or _place(there) != _place(request.url):
                where = _place(there) if there is not None else onward
                raise Unusable(f"redirects to {where}", "it is not followed; give that URL if you trust it")
            request = self.build_request(
                request.method, there, headers=request.headers, content=request.read(), extensions=request.extensions
            )
        raise Unusable(f"redirects more than {HOPS} times")

    def _whole(self, request: Any, how: dict[str, Any]) -> Any:
        """Get a reply and read it, in a thread that is left behind when time is up."""
        for _ in range(2 if self._answered else 1):
            found: list[Any] = []
            self._pause()
            end = time.monotonic() + self._seconds
            thread = threading.Thread(target=self._fetch, args=(request, how, end, found), daemon=True)
            thread.start()
            thread.join(self._seconds)
            if found:
                if isinstance(found[0], BaseException):
                    raise _lasting(found[0])
                return found[0]
        raise openai.APITimeoutError(request=request)

    def _fetch(self, request: Any, how: dict[str, Any], end: float, found: list[Any]) -> None:
        try:
            reply = super().send(request, **how)
            try:
                body = bytearray()
                for piece in reply.iter_raw():
                    body += piece
                    if len(body) > LARGEST:
                        raise Unusable(f"sends more than {LARGEST >> 20} MB")
                    if time.monotonic() > end:
                        return
            finally:
                reply.close()
            packed = ("content-encoding", "content-length", "transfer-encoding")
            headers = [(name, value) for name, value in reply.headers.multi_items() if name.lower() not in packed]
            content = unpacked(bytes(body), reply.headers.get("content-encoding", ""))
            found.append(type(reply)(reply.status_code, headers=headers, content=content, request=reply.request))
        except BaseException as error:
            found.append(error)


def unpacked(body: bytes, encoding: str) -> bytes:
    """Unpack a reply, within `LARGEST`.

    Raises
    ------
    Unusable
        If it is larger, broken, or packed otherwise than gzip and deflate do it.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unusable(f"packs its replies in a way that was not asked for ({encoding[:20]!r})")
    try:
        machine = zlib.decompressobj(zlib.MAX_WBITS | 32)
        content = machine.decompress(body, LARGEST + 1)
    except zlib.error as error:
        raise Unusable("sends a reply that cannot be unpacked") from error
    if len(content) > LARGEST:
        raise Unusable(f"sends more than {LARGEST >> 20} MB, packed into {len(body) / 1024:.0f} kB")
    return content


def _place(url: Any) -> str:
    """Write scheme, host and port of a URL, without what may be secret."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, "")
    return f"{url.scheme}://{url.host}:{port}" if url.host else f"{url.scheme}:{url.path}"


def _lasting(error: BaseException) -> BaseException:
    """Name what does not become right by asking again."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Unusable(
            f"has a certificate that is not trusted ({str(error).rpartition(': ')[2]})",
            "set SSL_CERT_FILE to the authority that signed it, or mend the certificate",
        )
    if isinstance(error, UnicodeError):
        return Unusable(f"has no name that a host can have ({error})")
    return error
