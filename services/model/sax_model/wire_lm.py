"""Language service: protobuf in, values out, and back. The only module here that knows lm.proto.

`StreamWriter` is on the hot path: one message per engine step and stream.
"""

from collections.abc import Iterable, Sequence

from sax_common.errors import InvalidArgument
from sax_zoo.extra_inputs import ExtraInputs
from sax_zoo.lm.calls import ChatMessage, GenerateCall, GenerateOptions
from saxml.protobuf import common_pb2, lm_pb2

from sax_model.core.text import SentText
from sax_model.generation import Answer, Chunk, FinishReason, TokenScore
from sax_model.hosted_model import HostedModel

_FINISH = {
    FinishReason.STOP: lm_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: lm_pb2.FINISH_REASON_LENGTH,
}
_OPTIONS = ("max_tokens", "temperature", "top_p", "top_k", "seed", "num_samples", "top_logprobs")


def extra_inputs(message: common_pb2.ExtraInputs) -> ExtraInputs:
    """Return extra inputs as values."""
    return ExtraInputs(
        items=dict(message.items),
        tensors={key: tuple(tensor.values) for key, tensor in message.tensors.items()},
        strings=dict(message.strings),
    )


def generate_call(request: lm_pb2.GenerateRequest) -> GenerateCall:
    """Return what is asked for; raises InvalidArgument when both a text and a conversation are given."""
    if request.messages and request.text:
        raise InvalidArgument("text and messages are both set; a request has one or the other")
    options = request.options
    given = {name: getattr(options, name) for name in _OPTIONS if options.HasField(name)}
    return GenerateCall(
        text=request.text,
        messages=tuple(ChatMessage(message.role, message.content) for message in request.messages),
        extra_inputs=extra_inputs(request.extra_inputs),
        options=GenerateOptions(stop=tuple(options.stop), **given),
    )


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> lm_pb2.Usage:
    """Return the token counts of a request."""
    return lm_pb2.Usage(
        prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cached_tokens=cached_tokens
    )


def generate_response(
    model: HostedModel, answers: Iterable[Answer], used: lm_pb2.Usage
) -> lm_pb2.GenerateResponse:
    """Return the whole answer, one text per sample."""
    response = lm_pb2.GenerateResponse(usage=used)
    for answer in answers:
        response.texts.add(
            text=answer.text,
            score=answer.score,
            finish_reason=_FINISH[answer.finish] if answer.finish is not None else None,
            logprobs=[token_logprob(model, token) for token in answer.tokens],
        )
    return response


class StreamWriter:
    """Makes the messages of one stream. Each has an item for every sample, as original clients expect."""

    def __init__(self, model: HostedModel, samples: int) -> None:
        self._model = model
        self._sent = [SentText() for _ in range(samples)]
        self._scores = [0.0] * samples

    def message(
        self, chunks: Sequence[Chunk], used: lm_pb2.Usage | None
    ) -> lm_pb2.GenerateStreamResponse | None:
        """Return the message that brings `chunks`, None while there is nothing a reader could see.

        `used` is set on the last message, which is always sent. Scores of chunks that are not sent wait
        for the next one.
        """
        is_worth_sending = used is not None
        for index, chunk in enumerate(chunks):
            self._scores[index] += chunk.score
            if chunk.text or chunk.tokens or chunk.finish is not None:
                is_worth_sending = True
        if not is_worth_sending:
            return None
        response = lm_pb2.GenerateStreamResponse(usage=used)
        for index, chunk in enumerate(chunks):
            prefix_len, text = self._sent[index].add(chunk.text)
            item = response.items.add(text=text, prefix_len=prefix_len, scores=(self._scores[index],))
            self._scores[index] = 0.0
            if chunk.finish is not None:
                item.finish_reason = _FINISH[chunk.finish]
            if chunk.tokens:
                item.logprobs.extend(token_logprob(self._model, token) for token in chunk.tokens)
        return response


def token_logprob(model: HostedModel, scored: TokenScore) -> lm_pb2.TokenLogprob:
    """Return one token with its alternatives."""
    message = _logprob(model, scored.token, scored.logprob)
    message.top.extend(_logprob(model, token, logprob) for token, logprob in scored.top)
    return message


def _logprob(model: HostedModel, token: int, logprob: float) -> lm_pb2.TokenLogprob:
    return lm_pb2.TokenLogprob(
        token=model.decode((token,)), token_bytes=model.token_bytes(token), logprob=logprob
    )
