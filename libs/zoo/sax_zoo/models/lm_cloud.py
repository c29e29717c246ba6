"""The LmCloudSpmd family: the models of the original's quick start (model_server.md 4.2).

A 2-billion-parameter decoder of 2021's shape: GELU without a gate, biases in the FFN only, LayerNorm with (1
+ scale), learned scale per query dimension, soft caps on attention and logits, sinusoidal positions, one
table for input and output. `LmCloudSpmd2BTest` answers without a checkpoint: its weights are random, so its
text is noise, but every part of the system runs.
"""

import math

from sax_engine.decoder import Activation, DecoderConfig, Norm, Position

from sax_zoo.lm.random_model import RandomDecoder
from sax_zoo.registry import register


class LmCloudSpmd(RandomDecoder):
    """What the sizes have in common."""

    SPM_MODEL = "sax_2k.model"
    SOS_ID = 0
    EOS_ID = 1
    MAX_SEQ_LEN = 1024

    @classmethod
    def decoder(cls) -> DecoderConfig:
        """The decoder of these numbers."""
        return DecoderConfig(
            vocab_size=cls.VOCAB_SIZE,
            num_layers=cls.NUM_LAYERS,
            model_dim=cls.MODEL_DIMS,
            hidden_dim=cls.HIDDEN_DIMS,
            num_heads=cls.NUM_HEADS,
            num_kv_heads=cls.NUM_HEADS,
            head_dim=cls.DIMS_PER_HEAD,
            max_len=cls.MAX_SEQ_LEN if cls.MAX_SEQ_LEN is not None else 1024,
            norm=Norm.LAYER,
            norm_eps=1e-6,
            norm_plus_one=True,
            position=Position.SINUSOIDAL,
            activation=Activation.GELU_TANH,
            gated=False,
            ffn_bias=True,
            unembed_bias=True,
            per_dim_scale=True,
            attention_cap=50.0,
            logits_cap=30.0,
            tied_embedding=True,
            embedding_scale=math.sqrt(cls.MODEL_DIMS),
        )


class LmCloudSpmd2B(LmCloudSpmd):
    """2.137e9 parameters."""

    NUM_LAYERS = 18
    MODEL_DIMS = 3072
    HIDDEN_DIMS = 12288
    NUM_HEADS = 24
    DIMS_PER_HEAD = 128
    VOCAB_SIZE = 32000
    ICI_MESH_SHAPE = (1, 1, 4)


@register("saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTest")
class LmCloudSpmd2BTest(LmCloudSpmd2B):
    """The quick start's model: random weights, one device."""

    ICI_MESH_SHAPE = (1, 1, 1)
    test_mode = True


@register("saxml.server.pax.lm.params.lm_cloud.LmCloudSpmd2BTestTiny")
class LmCloudSpmd2BTestTiny(LmCloudSpmd2BTest):
    """Two narrow layers of the same kind, for tests: every rule of the family, a thousandth of the work."""

    NUM_LAYERS = 2
    MODEL_DIMS = 96
    HIDDEN_DIMS = 384
    NUM_HEADS = 4
    DIMS_PER_HEAD = 24
