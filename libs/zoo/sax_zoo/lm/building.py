"""The last step of every loader: decoder, parameters and tokenizer become a LanguageModel.

The backend takes the parameters one by one (`Parameters` makes each on look-up), is warmed up so that the first answer does not wait for a compiler, and is
then given to a fresh engine that nobody has stepped.
"""

from dataclasses import dataclass

from sax_engine.backends.jax.backend import make_jax_backend
from sax_engine.core.engine import Engine
from sax_engine.core.requests import Request
from sax_engine.core.scheduler import EngineLimits
from sax_engine.decoder import DecoderConfig
from sax_engine.port import Backend

from sax_zoo.checkpoints.assemble import Parameters
from sax_zoo.checkpoints.source import LoadProgress, Phase
from sax_zoo.lm.decoding import SAMPLES_MAX
from sax_zoo.lm.model import LanguageModel, Parts
from sax_zoo.lm.sizing import Sizes
from sax_zoo.lm.template import LanguageModelTemplate
from sax_zoo.servable import LoadContext
from sax_zoo.text.chat import ChatTemplate
from sax_zoo.text.tokenizer import Tokenizer
