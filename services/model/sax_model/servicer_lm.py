"""sax.server.lm.LMService: Generate, GenerateStream and Score of the models on this server.

A handler translates, runs, translates back; the decisions are in `core.admission`, the work in `runner`.
Errors are raised as SaxError and become status codes in the runtime.
"""

import grpc
from sax_common.clock import Clock
from saxml.protobuf import lm_pb2, lm_pb2_grpc

from sax_model import wire_lm
from sax_model.refusals import Refuser
from sax_model.runner import LanguageRunner, Run


class LMServicer(lm_pb2_grpc.LMServiceServicer):
    """The language service. Called on the event loop."""

    def __init__(self, runner: LanguageRunner, refuser: Refuser, clock: Clock) -> None:
        self._runner = runner
        self._refuser = refuser
        self._clock = clock

    async def Generate(  # noqa: N802 - the name is the protocol's.
        self, request: lm_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> lm_pb2.GenerateResponse:
        """Answer once, with all samples."""
        call = wire_lm.generate_call(request)
        async with self._runner.generation(
            request.model_key, "lm.generate", call, is_streaming=False, remaining_s=context.time_remaining()
        ) as run:
            rounds = []
            while not run.generation.is_over:
                # Only a stop string can end a sample before the engine does, so only then each step matters.
                rounds.append(await (run.next() if call.options.stop else run.rest()))
            return wire_lm.generate_response(run.model, run.generation.answers(rounds), _usage(run))

    async def GenerateStream(  # noqa: N802
        self, request: lm_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """Answer with what each engine step brings; what comes during a slow write is merged."""
        call = wire_lm.generate_call(request)
        async with self._runner.generation(
            request.model_key,
            "lm.generate_stream",
            call,
            is_streaming=True,
            remaining_s=context.time_remaining(),
        ) as run:
            writer = wire_lm.StreamWriter(run.model, run.samples)
            while not run.generation.is_over:
                chunks = await run.next()
                message = writer.message(chunks, _usage(run) if run.generation.is_over else None)
                if message is not None:
                    run.writing_since_ms = self._clock.monotonic_ms()
                    await context.write(message)
                    run.writing_since_ms = None

    async def Score(  # noqa: N802
        self, request: lm_pb2.ScoreRequest, context: grpc.aio.ServicerContext
    ) -> lm_pb2.ScoreResponse:
        """Answer with one log-probability per suffix; no suffix counts as one empty suffix."""
        scores = await self._runner.score(
            request.model_key,
            request.prefix,
            tuple(request.suffix) or ("",),
            wire_lm.extra_inputs(request.extra_inputs),
            remaining_s=context.time_remaining(),
        )
        return lm_pb2.ScoreResponse(logp=scores)

    async def Embed(  # noqa: N802
        self, request: lm_pb2.EmbedRequest, _context: grpc.aio.ServicerContext
    ) -> lm_pb2.EmbedResponse:
        """Refuse: no model here has the method."""
        raise self._refuser.refusal(request.model_key, "lm.embed")

    async def Gradient(  # noqa: N802
        self, request: lm_pb2.GradientRequest, _context: grpc.aio.ServicerContext
    ) -> lm_pb2.GradientResponse:
        """Refuse: no model here has the method."""
        raise self._refuser.refusal(request.model_key, "lm.gradient")


def _usage(run: Run) -> lm_pb2.Usage:
    generation = run.generation
    return wire_lm.usage(run.prompt_tokens, generation.completion_tokens, generation.cached_tokens)
