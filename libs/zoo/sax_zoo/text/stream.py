"""Streaming detokenisation: ids in, text out, valid UTF-8 at every cut and O(1) work per id.

A token may be a third of a character, so bytes are held until they complete one; a stop string may begin in
one token and end in another, so text is held while it could still be the beginning of a stop string. The
life of a token:

    id --token_bytes--> bytes --incremental UTF-8--> characters --stop strings--> text for the client
                         held: <= 3 bytes                          held: < longest stop string

Invalid bytes become U+FFFD as in every lossy decoder. Whatever way an answer is cut into pushes, the joined
text is the same. One StreamDecoder belongs to one sample of one request and to one thread at a time.
"""

import codecs
from collections.abc import Callable, Sequence

_UTF8 = codecs.getincrementaldecoder("utf-8")


class StopScanner:
    """Finds the first stop string in text that arrives in pieces.

    `push` returns text that can surely be shown. Text that may be the beginning of a stop string is held
    back, so at most (longest stop string - 1) characters wait.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(text for text in stop if text)
        self._longest = max(map(len, self._stop), default=0)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Take more text; return what can be shown. After a stop string nothing is shown any more."""
        if self.found is not None or not text:
            return ""
        window = self._held + text
        cut = self._first_stop(window)
        if cut is not None:
            self._held = ""
            return window[:cut]
        keep = self._possible_prefix(window)
        self._held = window[len(window) - keep :]
        return window[: len(window) - keep]

    def finish(self) -> str:
        """The answer ended without a stop string: what was held is ordinary text."""
        held, self._held = self._held, ""
        return held

    def _first_stop(self, window: str) -> int | None:
        """Where the earliest stop string begins; of two at one place, the one given first is reported."""
        best: int | None = None
        for stop in self._stop:
            at = window.find(stop, 0, None if best is None else best + len(stop) - 1)
            if at >= 0 and (best is None or at < best):
                best, self.found = at, stop
        return best

    def _possible_prefix(self, window: str) -> int:
        """Length of the longest end of `window` that begins a stop string."""
        for length in range(min(self._longest - 1, len(window)), 0, -1):
            end = window[-length:]
            if any(len(stop) > length and stop.startswith(end) for stop in self._stop):
                return length
        return 0


class StreamDecoder:
    """Turns the ids of one sample into text as they come.

    Owned by whoever reads the sample's emissions. `stopped` tells that a stop string (`stop_string`) was
    met: the rest of the answer is cut and the caller should cancel the request; `tokens` counts the ids
    taken up to and including the one that completed it.
    """

    def __init__(
        self,
        token_bytes: Callable[[int], bytes],
        *,
        strips_first_space: bool = False,
        stop: Sequence[str] = (),
    ) -> None:
        self._token_bytes = token_bytes
        self._utf8 = _UTF8(errors="replace")
        self._strip = strips_first_space
        self._scanner = StopScanner(stop) if stop else None
        self.tokens = 0

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the answer, if one did."""
        return None if self._scanner is None else self._scanner.found

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the answer; later pushes are ignored."""
        return self.stop_string is not None

    def push(self, tokens: Sequence[int]) -> str:
        """Take the next ids; return the text that is complete now (often ""; characters may take several)."""
        if self._scanner is None:
            self.tokens += len(tokens)
            data = b"".join(map(self._token_bytes, tokens))
            return self._utf8.decode(self._first(data)) if data else ""
        shown: list[str] = []
        for token in tokens:
            if self.stopped:
                break
            self.tokens += 1
            data = self._token_bytes(token)
            if data:
                shown.append(self._scanner.push(self._utf8.decode(self._first(data))))
        return "".join(shown)

    def finish(self) -> str:
        """End the answer: held bytes become U+FFFD, held text is let go; nothing follows a stop string."""
        if self.stopped:
            return ""
        tail = self._utf8.decode(b"", final=True)
        if self._scanner is None:
            return tail
        return self._scanner.push(tail) + ("" if self.stopped else self._scanner.finish())

    def _first(self, data: bytes) -> bytes:
        if self._strip:
            self._strip = False
            return data.removeprefix(b" ")
        return data
