"""The last step of every loader: decoder, parameters and tokenizer become a LanguageModel.

The backend takes the parameters one by one (`Parameters` makes each on look-up), compiles what a first
request needs, and is then given to an engine that nobody has stepped: the first answer does not wait for a
compiler.
"""

from sax_common.errors import Internal
from sax_engine.backends.jax.backend import JaxBackend, make_jax_backend
from sax_engine.backends.jax.weights import BadWeights
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request
from sax_engine.core.scheduler import EngineLimits
from sax_engine.decoder import DecoderConfig

from sax_zoo.checkpoints.assemble import Parameters
from sax_zoo.checkpoints.source import LoadProgress, Phase
from sax_zoo.lm.decoding import SAMPLES_MAX
from sax_zoo.lm.model import LanguageModel, Parts
from sax_zoo.lm.sizing import sizes
from sax_zoo.lm.template import LanguageModelTemplate, as_tuple
from sax_zoo.servable import LoadContext
from sax_zoo.text.chat import ChatTemplate
from sax_zoo.text.tokenizer import Tokenizer


def build(
    cls: type[LanguageModelTemplate],
    config: DecoderConfig,
    parameters: Parameters,
    tokenizer: Tokenizer,
    context: LoadContext,
    *,
    stop_ids: frozenset[int],
    chat_template: ChatTemplate | None = None,
) -> LanguageModel:
    """Place the weights, compile, and wrap up.

    Raises what the parameters raise, and Cancelled between two programs.
    """
    planned = sizes(cls, config)
    try:
        backend = make_jax_backend(
            config,
            parameters,
            dtype=cls.FPROP_DTYPE,
            max_len=planned.max_len,
            max_rows=planned.max_rows,
            num_pages=planned.num_pages,
            page_size=planned.page_size,
        )
    except BadWeights as error:
        # Names and shapes were compared before; if the backend still disagrees, the two descriptions of the
        # decoder do.
        raise Internal(f"The backend refused checked weights: {error}.") from error
    try:
        _warm_up(backend, parameters, context)
    except BaseException:
        backend.release()
        raise
    limits = EngineLimits(max_queue=_admitted(cls), max_samples=min(SAMPLES_MAX, planned.max_rows))
    parts = Parts(
        engine=Engine(backend, limits),
        tokenizer=tokenizer,
        chat_template=chat_template,
        sizes=planned,
        stop_ids=stop_ids,
        seed=context.seed,
        memory_bytes=backend.memory_bytes,
        release=backend.release,
    )
    return LanguageModel(cls, parts)


def _warm_up(backend: JaxBackend, parameters: Parameters, context: LoadContext) -> None:
    """Answer one small request on an engine that is thrown away, so that its programs are compiled.

    Steps for many streams and long prompts are compiled when they first occur; all of them now would take a
    minute and more (SmolLM2 on two cores: 4 s each).
    """
    total = parameters.total_bytes
    context.report(LoadProgress(Phase.PREPARING, total, total))
    engine = Engine(backend)
    engine.submit(Request(request_id="warm-up", prompt=(0,) * 2, max_new_tokens=3), now_ms=0)
    while engine.has_work:
        context.check_cancelled()
        engine.step(now_ms=0)


def _admitted(cls: type[LanguageModelTemplate]) -> int:
    """Room in the engine's line for all that admission lets in, per method, and their suffixes."""
    largest: int = max(as_tuple(cls.BATCH_SIZE))
    return max(1024, 3 * largest * cls.MAX_LIVE_BATCHES)
