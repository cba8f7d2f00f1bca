"""Small configurations of the transformers that people export, with random weights.

Each entry of :data:`MODELS` builds a network of the ``transformers`` package, of a few hundred
thousand parameters, and says what it reads. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# No other axis has these lengths, so that tables of words and positions are known by theirs.
WORDS, PLACES = 211, 77
WIDTH, HEADS, HIDDEN, LAYERS, LENGTH = 64, 4, 256, 3, 12
# Inputs that are keys and values of the past begin with this name, and are so long.
PAST, PAST_LENGTH = "past_key_values", 5


@dataclass(frozen=True)
class Example:
    """A network, what it reads, and how it is optimised.

    Attributes
    ----------
    network : torch.nn.Module
        Called with its inputs by name.
    inputs : dict of str to tensor
        The first axis of each is the batch.
    outputs : tuple of str
        Which of what it gives is exported.
    kind : str
        The ``model_type`` of onnxruntime's transformer optimiser.
    heads, width : int
        What the optimiser is told.
    """

    network: Any
    inputs: dict[str, Any]
    outputs: tuple[str, ...]
    kind: str
    heads: int = HEADS
    width: int = WIDTH


def _ids(length: int = LENGTH) -> Any:
    import torch

    return torch.randint(1, WORDS, (2, length))


def _text() -> dict[str, Any]:
    import torch

    return {"input_ids": _ids(), "attention_mask": torch.ones(2, LENGTH, dtype=torch.long)}


def _picture(side: int) -> dict[str, Any]:
    import torch

    return {"pixel_values": torch.randn(2, 3, side, side)}


def bert() -> Example:
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=PLACES,
    )
    inputs = {**_text(), "token_type_ids": torch.zeros(2, LENGTH, dtype=torch.long)}
    network = BertModel(config, add_pooling_layer=False)
    return Example(network, inputs, ("last_hidden_state",), "bert")


def distilbert() -> Example:
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(
        vocab_size=WORDS,
        dim=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=HIDDEN,
        max_position_embeddings=PLACES,
    )
    return Example(DistilBertModel(config), _text(), ("last_hidden_state",), "bert")


def gpt2() -> Example:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=PLACES,
        use_cache=False,
    )
    return Example(GPT2LMHeadModel(config), _text(), ("logits",), "gpt2")


def _grouped(config_type: Any, network_type: Any) -> Example:
    config = config_type(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        intermediate_size=HIDDEN,
        max_position_embeddings=PLACES,
        use_cache=False,
    )
    return Example(network_type(config), _text(), ("logits",), "qwen3")


def llama() -> Example:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _grouped(LlamaConfig, LlamaForCausalLM)


def qwen2() -> Example:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return _grouped(Qwen2Config, Qwen2ForCausalLM)


def _with_past(example: Example) -> Example:
    """The same as a decoder that takes keys and values of the past, and gives them longer."""
    import torch
    from transformers import DynamicCache

    config = example.network.config
    config.use_cache = True
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    layers = range(config.num_hidden_layers)
    pairs = [(f"{k}.key", f"{k}.value") for k in layers]

    class WithPast(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.decoder = example.network
            self.set_attn_implementation = example.network.set_attn_implementation

        def forward(self, input_ids: Any, attention_mask: Any, **past: Any) -> dict[str, Any]:
            cache = DynamicCache()
            for k, names in enumerate(pairs):
                cache.update(*(past[f"{PAST}.{name}"] for name in names), k)
            given = {"input_ids": input_ids, "attention_mask": attention_mask}
            found = self.decoder(**given, past_key_values=cache)
            made = {"logits": found.logits}
            for names, layer in zip(pairs, found.past_key_values.layers, strict=True):
                values = (layer.keys, layer.values)
                made |= {
                    f"present.{name}": value for name, value in zip(names, values, strict=True)
                }
            return made

    names = [name for pair in pairs for name in pair]
    size = WIDTH // HEADS
    past = {f"{PAST}.{name}": torch.randn(2, heads, PAST_LENGTH, size) for name in names}
    mask = torch.ones(2, PAST_LENGTH + LENGTH, dtype=torch.long)
    inputs = {"input_ids": example.inputs["input_ids"], "attention_mask": mask, **past}
    outputs = ("logits", *(f"present.{name}" for name in names))
    return Example(WithPast(), inputs, outputs, example.kind)


def gpt2_past() -> Example:
    return _with_past(gpt2())


def llama_past() -> Example:
    return _with_past(llama())


def qwen2_past() -> Example:
    return _with_past(qwen2())


def t5() -> Example:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=WORDS,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=HIDDEN,
        num_layers=LAYERS,
        num_heads=HEADS,
        decoder_start_token_id=0,
        use_cache=False,
    )
    inputs = {**_text(), "decoder_input_ids": _ids(7)}
    return Example(T5ForConditionalGeneration(config), inputs, ("logits",), "t5")


def _vision(config_type: Any, network_type: Any) -> Example:
    config = config_type(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        image_size=32,
        patch_size=8,
    )
    network = network_type(config, add_pooling_layer=False)
    return Example(network, _picture(32), ("last_hidden_state",), "vit")


def vit() -> Example:
    from transformers import ViTConfig, ViTModel

    return _vision(ViTConfig, ViTModel)


def deit() -> Example:
    from transformers import DeiTConfig, DeiTModel

    return _vision(DeiTConfig, DeiTModel)


def swin() -> Example:
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(
        image_size=32, patch_size=2, embed_dim=32, depths=[2, 2], num_heads=[4, 8], window_size=4
    )
    network = SwinModel(config, add_pooling_layer=False)
    return Example(network, _picture(32), ("last_hidden_state",), "swin", 4, 32)


def clip() -> Example:
    from transformers import CLIPConfig, CLIPModel

    common = {
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }
    text = {**common, "vocab_size": WORDS, "max_position_embeddings": PLACES, "eos_token_id": 2}
    vision = {**common, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    outputs = ("image_embeds", "text_embeds")
    return Example(CLIPModel(config), {**_text(), **_picture(32)}, outputs, "clip")


def whisper() -> Example:
    import torch
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        vocab_size=WORDS,
        num_mel_bins=20,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=HIDDEN,
        decoder_ffn_dim=HIDDEN,
        max_source_positions=30,
        max_target_positions=PLACES,
        pad_token_id=0,
        decoder_start_token_id=1,
        use_cache=False,
    )
    inputs = {"input_features": torch.randn(2, 20, 60), "decoder_input_ids": _ids(7)}
    return Example(WhisperModel(config), inputs, ("last_hidden_state",), "bart")


def detr() -> Example:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        out_features=["stage2"],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        num_queries=10,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=HIDDEN,
        decoder_ffn_dim=HIDDEN,
        num_labels=9,
    )
    outputs = ("logits", "pred_boxes")
    return Example(DetrForObjectDetection(config), _picture(64), outputs, "bert")


def segformer() -> Example:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    # The smallest one published: with less, what shortens keys outweighs all else.
    config = SegformerConfig(num_attention_heads=[2, 2, 4, 8], num_labels=9)
    network = SegformerForSemanticSegmentation(config)
    return Example(network, _picture(64), ("logits",), "vit")


MODELS: dict[str, Callable[[], Example]] = {
    made.__name__: made
    for made in (
        *(bert, distilbert, gpt2, llama, qwen2, t5, vit, deit, swin, clip, whisper, detr),
        *(segformer, gpt2_past, llama_past, qwen2_past),
    )
}
