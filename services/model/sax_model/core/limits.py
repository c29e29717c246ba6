"""Bounds of one request that hold whatever the model (reference/reliability.md 5.4).

What depends on the model, such as the length of a prompt in tokens, is checked where the tokens are known.
"""

from collections.abc import Sequence

from sax_common.errors import InvalidArgument

PROMPT_BYTES_MAX = 1 << 20
SAMPLES_MAX = 8
TOP_LOGPROBS_MAX = 20
STOPS_MAX = 16
STOP_BYTES_MAX = 256
MESSAGES_MAX = 1_000
SUFFIXES_MAX = 64


def check_prompt(texts: Sequence[str]) -> None:
    """Raise InvalidArgument when all texts of a prompt together are too large to be tokenised."""
    size = sum(len(text.encode()) for text in texts)
    if size > PROMPT_BYTES_MAX:
        raise InvalidArgument(f"the prompt has {size} bytes; at most {PROMPT_BYTES_MAX} are allowed")


def check_options(*, samples: int | None, top_logprobs: int | None, stop: Sequence[str]) -> None:
    """Raise InvalidArgument for counts out of bounds; None is "not set"."""
    if samples is not None and not 1 <= samples <= SAMPLES_MAX:
        raise InvalidArgument(f"num_samples is {samples}; 1 to {SAMPLES_MAX} are allowed")
    if top_logprobs is not None and not 0 <= top_logprobs <= TOP_LOGPROBS_MAX:
        raise InvalidArgument(f"top_logprobs is {top_logprobs}; 0 to {TOP_LOGPROBS_MAX} are allowed")
    if len(stop) > STOPS_MAX:
        raise InvalidArgument(f"there are {len(stop)} stop strings; at most {STOPS_MAX} are allowed")
    for text in stop:
        if not 1 <= len(text.encode()) <= STOP_BYTES_MAX:
            raise InvalidArgument(
                f"a stop string has {len(text.encode())} bytes; 1 to {STOP_BYTES_MAX} are allowed"
            )


def check_count(what: str, count: int, most: int) -> None:
    """Raise InvalidArgument when a request repeats a field too often."""
    if count > most:
        raise InvalidArgument(f"there are {count} {what}; at most {most} are allowed")
