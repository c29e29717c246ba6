"""Between values and messages: the only module of this package that knows protobuf fields.

Requests are built here from values, answers are taken apart here into values; no call is made and nothing
is decided. Fields that only our servers know (from number 100) are empty in an original's answer and become
None, 0 or an empty tuple.

Streams: `prefix_len` says how much of the text so far stays, `text` what follows it (``result =
result[:prefix_len] + text``). Our servers count only a leading all-ASCII part, where characters and bytes
agree (DESIGN.md D17); an original's servers count code points, which is how Python slices. Both are right
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from saxml.protobuf import admin_pb2, common_pb2, lm_pb2

from sax_client.values import (
    ChatMessage,
    Decoded,
    ExtraInputs,
    FinishReason,
    GenerateOptions,
    GenerateResult,
    ModelStatus,
    PublishedModel,
    ReplicaStatus,
    ServerTypeStat,
    Stats,
    StreamChunk,
    StreamSample,
    TokenLogprob,
    Usage,
)
from sax_client.watchset import Mutation, WatchAnswer, WatchState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FINISH: dict[int, FinishReason] = {
    lm_pb2.FINISH_REASON_STOP: "stop",
    lm_pb2.FINISH_REASON_LENGTH: "length",
}


def extra_inputs(extra: ExtraInputs | None) -> common_pb2.ExtraInputs | None:
    """The message for `extra`; None stays None (an absent message, not an empty one)."""
    if extra is None:
        return None
    return common_pb2.ExtraInputs(
        items=dict(extra.items),
        tensors={name: common_pb2.Tensor(values=values) for name, values in extra.tensors.items()},
        strings=dict(extra.strings),
    )


def generate_request(
    model_id: str,
    text: str,
    *,
    extra: ExtraInputs | None,
    options: GenerateOptions | None,
    messages: Sequence[ChatMessage] | None,
) -> lm_pb2.GenerateRequest:
    """The request of Generate and GenerateStream."""
    return lm_pb2.GenerateRequest(
        model_key=model_id,
        text=text,
        extra_inputs=extra_inputs(extra),
        options=_options(options),
        messages=[lm_pb2.ChatMessage(role=turn.role, content=turn.content) for turn in messages or ()],
    )


def _options(options: GenerateOptions | None) -> lm_pb2.GenerateOptions | None:
    if options is None:
        return None
    return lm_pb2.GenerateOptions(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=options.seed,
        stop=options.stop,
        num_samples=options.num_samples,
        top_logprobs=options.top_logprobs,
    )


def score_request(
    model_id: str, prefix: str, suffixes: Sequence[str], extra: ExtraInputs | None
) -> lm_pb2.ScoreRequest:
    """The request of Score."""
    return lm_pb2.ScoreRequest(
        model_key=model_id, prefix=prefix, suffix=suffixes, extra_inputs=extra_inputs(extra)
    )


def embed_request(model_id: str, text: str, extra: ExtraInputs | None) -> lm_pb2.EmbedRequest:
    """Build the request of Embed."""
    return lm_pb2.EmbedRequest(model_key=model_id, text=text, extra_inputs=extra_inputs(extra))


def _logprobs(tokens: Iterable[lm_pb2.TokenLogprob]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(token.token, token.token_bytes, token.logprob, _logprobs(token.top)) for token in tokens
    )


def _usage(message: lm_pb2.GenerateResponse | lm_pb2.GenerateStreamResponse) -> Usage | None:
    if not message.HasField("usage"):
        return None
    usage = message.usage
    return Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)


def generate_result(response: lm_pb2.GenerateResponse) -> GenerateResult:
    """All samples of a Generate answer."""
    texts = tuple(
        Decoded(item.text, item.score, _FINISH.get(item.finish_reason), _logprobs(item.logprobs))
        for item in response.texts
    )
    return GenerateResult(texts, _usage(response))


def stream_chunk(response: lm_pb2.GenerateStreamResponse, texts: list[str]) -> StreamChunk:
    """One message of a stream; `texts` holds every sample's text so far and is updated in place."""
    samples = []
    for index, item in enumerate(response.items):
        if index == len(texts):
            texts.append("")
        before = texts[index]
        stays = before[: item.prefix_len]
        text = stays + item.text
        texts[index] = text
        # A server that repeats what it sent (D17) has not revised it.
        kept = len(before) if text.startswith(before) else len(stays)
        samples.append(
            StreamSample(
                delta=text[kept:],
                text=text,
                kept=kept,
                scores=tuple(item.scores) or (item.score,),
                finish_reason=_FINISH.get(item.finish_reason),
                logprobs=_logprobs(item.logprobs),
                sent_text=item.text,
                prefix_len=item.prefix_len,
            )
        )
    return StreamChunk(tuple(samples), _usage(response))


def model_message(
    model_id: str, model_path: str, checkpoint: str, replicas: int, overrides: Mapping[str, str] | None
) -> admin_pb2.Model:
    """What Publish wants."""
    return admin_pb2.Model(
        model_id=model_id,
        model_path=model_path,
        checkpoint_path=checkpoint,
        requested_num_replicas=replicas,
        overrides=overrides or {},
    )


def published_model(message: admin_pb2.PublishedModel) -> PublishedModel:
    """One listed model."""
    model = message.model
    return PublishedModel(
        model_id=model.model_id,
        model_path=model.model_path,
        checkpoint=model.checkpoint_path,
        requested_replicas=model.requested_num_replicas,
        overrides=dict(model.overrides),
        methods=tuple(model.method_names),
        admin_acl=model.admin_acl,
        acls=dict(model.acls.items),
        uuid=model.uuid,
        generation=model.generation,
        addresses=tuple(message.modelet_addresses),
        replicas=tuple(_replica(replica) for replica in message.replicas),
        shortfall_reason=message.shortfall_reason,
    )


def _replica(message: admin_pb2.ReplicaStatus) -> ReplicaStatus:
    known = message.status in {status.value for status in ModelStatus}
    return ReplicaStatus(
        address=message.address,
        data_address=message.data_address,
        # A newer server's state that we do not know is shown as "none" rather than refused.
        status=ModelStatus(message.status) if known else ModelStatus.NONE,
        failure_reason=message.failure_reason,
        failed_loads=message.failed_loads,
        retry_in_ms=message.retry_in_ms,
    )


def stats(message: admin_pb2.StatsResponse) -> Stats:
    """Server counts, sorted so that equal cells print equally."""
    kinds = sorted(
        (
            ServerTypeStat(
                enum_name(admin_pb2.ModelServer.ChipType, stat.chip_type),
                enum_name(admin_pb2.ModelServer.ChipTopology, stat.chip_topology),
                stat.num_replicas,
            )
            for stat in message.model_server_type_stats
        ),
        key=lambda stat: (stat.chip_type, stat.chip_topology),
    )
    return Stats(tuple(kinds), dict(sorted(message.num_servers_by_servable_model_path.items())))


def enum_name(
    enum: type[admin_pb2.ModelServer.ChipType | admin_pb2.ModelServer.ChipTopology], number: int
) -> str:
    """Give an enum number its name; a number that this program does not know stays one."""
    names = {value: name for name, value in enum.items()}
    return names.get(number, str(number))


def watch_request(model_id: str, state: WatchState) -> admin_pb2.WatchLocRequest:
    """The question that `state` asks next."""
    return admin_pb2.WatchLocRequest(model_id=model_id, seqno=state.seqno, admin_server_id=state.server_id)


def watch_answer(response: admin_pb2.WatchLocResponse) -> WatchAnswer:
    """One WatchLoc answer; a mutation of a kind that we do not know is skipped."""
    result = response.result
    mutations = []
    for mutation in result.changelog:
        kind = mutation.WhichOneof("kind")
        if kind is not None:
            mutations.append(Mutation(getattr(mutation, kind), kind == "addition"))
    return WatchAnswer(
        server_id=response.admin_server_id,
        next_seqno=result.next_seqno,
        term=response.term,
        full_set=frozenset(result.values) if result.has_fullset else None,
        mutations=tuple(mutations),
    )
