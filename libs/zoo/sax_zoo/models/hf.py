"""`hf.CausalLM`: whatever decoder a Hugging Face directory or a GGUF file holds.

    saxutil publish /sax/test/smollm2 hf.CausalLM /models/smollm2.gguf 1

The checkpoint says the architecture, the tokenizer, the chat template and what ends an answer; the class
says how it is served: one sample, extra inputs as the LLaMA classes have them, prompt and answer up to the
model's context.
"""

from collections.abc import Mapping

from sax_common.errors import InvalidArgument

from sax_zoo.checkpoints.assemble import from_source
from sax_zoo.checkpoints.locate import NO_CHECKPOINT, locate
from sax_zoo.checkpoints.opening import open_checkpoint
from sax_zoo.checkpoints.source import LoadProgress, Phase
from sax_zoo.lm.building import build
from sax_zoo.lm.model import LanguageModel
from sax_zoo.lm.template import LanguageModelTemplate, Number
from sax_zoo.registry import register
from sax_zoo.servable import LoadContext

LX: Mapping[str, Number] = {
    "temperature": 0.5,
    "per_example_max_decode_steps": 128,
    "per_example_top_k": 200,
    "per_example_top_p": 0.95,
}
"""Extra inputs of the LLaMA classes (model_server.md section 4)."""
LXD: Mapping[str, str] = {
    "temperature": "float32",
    "per_example_max_decode_steps": "int32",
    "per_example_top_k": "int32",
    "per_example_top_p": "float32",
}


@register("hf.CausalLM")
class CausalLM(LanguageModelTemplate):
    """A decoder described by its own checkpoint."""

    ICI_MESH_SHAPE = (1, 1, 1)
    BATCH_SIZE = 64
    NUM_CACHE_SLOTS = 64
    INPUT_SEQ_LEN = None
    MAX_DECODE_STEPS = None
    NUM_SAMPLES = 1
    ENABLE_GENERATE_STREAM = True
    EXTRA_INPUTS = LX
    EXTRA_INPUTS_DTYPES = LXD

    @classmethod
    def load(cls, context: LoadContext) -> LanguageModel:
        """Load a checkpoint. Raises SaxError naming the path, the file and the tensor."""
        cls.check()
        if context.checkpoint_path == NO_CHECKPOINT:
            raise InvalidArgument(
                "hf.CausalLM needs a checkpoint: a Hugging Face directory or a .gguf file. None is "
                "only for test classes."
            )
        context.report(LoadProgress(Phase.CHECKING))
        opened = open_checkpoint(locate(context.checkpoint_path))
        try:
            parameters = from_source(
                opened.source,
                opened.family,
                opened.config,
                dtype=cls.FPROP_DTYPE,
                report=context.report,
                check_cancelled=context.check_cancelled,
            )
            return build(
                cls,
                opened.config,
                parameters,
                opened.tokenizer,
                context,
                stop_ids=frozenset(cls.STOP_TOKEN_IDS)
                if cls.STOP_TOKEN_IDS is not None
                else opened.tokenizer.eos_ids,
                chat_template=opened.chat_template,
            )
        finally:
            opened.source.close()
