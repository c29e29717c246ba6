"""Answers that are sent whole: completions, chat completions, the list of models.

Pure: values of the client library in, values for JSON out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_http.openai.chunks import CHAT, usage_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sax_client import Decoded, GenerateResult

    from sax_http.openai.chunks import Style


def whole_answer(
    style: Style,
    result: GenerateResult,
    *,
    choices: int,
    answer_id: str,
    created: int,
    model: str,
    with_logprobs: bool,
) -> dict[str, object]:
    """Return the answer for one unary call: the first `choices` samples, in the model's order."""
    answer: dict[str, object] = {
        "id": answer_id,
        "object": style.object_name.removesuffix(".chunk"),
        "created": created,
        "model": model,
        "choices": [
            _choice(style, index, one, with_logprobs) for index, one in enumerate(result.texts[:choices])
        ],
    }
    if result.usage is not None:
        answer["usage"] = usage_object(result.usage)
    return answer


def _choice(style: Style, index: int, decoded: Decoded, with_logprobs: bool) -> dict[str, object]:  # noqa: FBT001
    content: dict[str, object] = (
        {"message": {"role": "assistant", "content": decoded.text, "refusal": None}}
        if style is CHAT
        else {"text": decoded.text}
    )
    return {
        "index": index,
        **content,
        "logprobs": style.logprobs(decoded.logprobs, offset=0) if with_logprobs else None,
        # An original model server does not say why it stopped.
        "finish_reason": decoded.finish_reason or "stop",
    }


def model_object(name: str, *, created: int) -> dict[str, object]:
    """Return one entry of the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": name.rpartition("/")[0]}


def model_list(names: Iterable[str], *, created: int) -> dict[str, object]:
    """Return the list of models."""
    return {"object": "list", "data": [model_object(name, created=created) for name in names]}
