"""Streaming text: whole and pieces agree, cuts are valid UTF-8, stop strings end it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_zoo.text.stream import StopScanner, StreamDecoder


def byte_table(token: int) -> bytes:
    """A vocabulary of the 256 bytes."""
    return bytes([token])


@given(st.text(max_size=40), st.data())
def test_text_cut_at_any_bytes_arrives_whole(text, data):
    """However the bytes of a text are cut into pushes, the joined pieces are the text."""
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    decoder = StreamDecoder(byte_table)
    pieces = [decoder.push(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert "".join(pieces) + decoder.finish() == text


@given(st.binary(max_size=40))
def test_pieces_of_any_bytes_equal_the_lossy_whole(raw):
    """Bytes that are no UTF-8 become U+FFFD in the same places, streamed or whole; pieces encode."""
    decoder = StreamDecoder(byte_table)
    pieces = [decoder.push((byte,)) for byte in raw] + [decoder.finish()]
    for piece in pieces:
        piece.encode()
    assert "".join(pieces) == raw.decode("utf-8", "replace")


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_stop_string_cuts_at_its_earliest_place(text, stops):
    """One character at a time, the text shown ends where the first stop string to be completed begins."""
    decoder = StreamDecoder(byte_table, stop=stops)
    shown = "".join(decoder.push((byte,)) for byte in text.encode()) + decoder.finish()
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert (shown, decoder.stopped) == (text, False)
        return
    end = min(ends)
    starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
    assert shown == text[: min(starts)]
    assert decoder.stop_string in stops
    assert decoder.tokens == end


def test_held_text_is_only_what_may_begin_a_stop_string():
    """Text waits exactly while it could still become a stop string."""
    scanner = StopScanner(["\nUser:"])
    assert [scanner.push(text) for text in ("Hi", "\nUs", "ual", "\n", "User", ":x")] == [
        "Hi",
        "",
        "\nUsual",
        "",
        "",
        "",
    ]
    assert scanner.found == "\nUser:"


def test_nothing_comes_after_a_stop_string():
    """A stopped stream ignores what follows."""
    decoder = StreamDecoder(byte_table, stop=["."])
    assert decoder.push(b"One. Two.") == "One"
    assert (decoder.push(b"Three"), decoder.finish(), decoder.tokens) == ("", "", 4)


def test_one_leading_space_is_taken_when_the_tokenizer_adds_it():
    """A SentencePiece text loses the space that encoding put before it, once."""
    decoder = StreamDecoder(byte_table, strips_first_space=True)
    assert decoder.push(b" a") + decoder.push(b" b") == "a b"


@pytest.mark.parametrize("stop", [(), ("\nUser:", "###")])
def test_a_token_costs_microseconds(stop):
    """Twenty thousand tokens stay far under 20 us each: the cost does not grow with the text."""
    decoder = StreamDecoder(byte_table, stop=stop)
    begin = time.thread_time()
    for _ in range(20_000):
        decoder.push((97,))
    assert (time.thread_time() - begin) / 20_000 < 20e-6
