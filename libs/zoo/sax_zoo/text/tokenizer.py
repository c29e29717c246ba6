"""A tokenizer as the rest of the zoo sees it: text to ids, and each id's share of the text as bytes.

A checkpoint's own library does the encoding (`tokenizers`, `sentencepiece`); decoding is ours and is one
table look-up per id, because a served token must cost microseconds and a stream must never be decoded again
from its beginning. The life of a generated id: `token_bytes` gives its bytes in the middle of a text
(control tokens give none), and `stream.Utf8Stream` turns the bytes of many ids into text. Decoding a whole
answer runs the very same path, so a stream and its whole can never differ.

Nothing here knows about models, requests or limits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sax_zoo.text.stream import StreamDecoder

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """Text <-> ids of one vocabulary. Immutable and safe to share between threads."""

    table: Sequence[bytes | None]
    """Bytes of each id; None for control tokens, which have no text."""
    encode_prompt: Encode
    """Text -> ids with whatever the tokenizer's own configuration adds (a start token, or nothing)."""
    encode_plain: Encode
    """Text -> ids with nothing added: suffixes of a score."""
    encode_chat: Encode
    """Rendered conversation -> ids: special tokens in the text are read as such, nothing is added."""
    eos_ids: frozenset[int] = frozenset()
    start_id: int | None = None
    """What `encode_prompt` puts first; None when it puts nothing there."""
    strips_first_space: bool = False
    """SentencePiece style: one space at the very start of a text belongs to the coding, not to the text."""
    special_texts: dict[str, str] = field(default_factory=dict)
    """`bos_token`, `eos_token`, ...: literal texts that chat templates refer to."""

    @property
    def size(self) -> int:
        """Number of ids that have an entry in the table."""
        return len(self.table)

    def token_bytes(self, token: int) -> bytes:
        """Bytes that an id adds in the middle of a text; ids beyond the vocabulary read `<id>`."""
        if token >= len(self.table):
            return b"<%d>" % token
        return self.table[token] or b""

    def stream(self, stop: Sequence[str] = ()) -> StreamDecoder:
        """Start decoding an answer that arrives in pieces."""
        return StreamDecoder(self.token_bytes, strips_first_space=self.strips_first_space, stop=stop)

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode a whole answer: exactly what a stream of the same ids would have said."""
        stream = self.stream()
        return stream.push(tokens) + stream.finish()
