"""The body of an LSW Transformer and the language model around it."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from preftune.models.lsw.configuration import LswConfig
from preftune.models.lsw.layers import LswAttention, LswBlock, rotary_tables
from preftune.models.lsw.released import HEAD_KEYS
from preftune.models.projected import ProjectedEmbedding, ProjectedHead


class LswPreTrainedModel(PreTrainedModel):
    """What the body alone and the body with its output embedding have in common."""

    config: LswConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": LswBlock, "attentions": LswAttention}  # noqa: RUF012 (their own form)
    # A reward head's tensors lie beside the language model's in a released file: see `split_released`.
    _keys_to_ignore_on_load_unexpected = HEAD_KEYS

    def get_input_embeddings(self) -> ProjectedEmbedding:  # type: ignore[override]
        """Ids -> what `inputs_embeds` takes: vectors of the model's width before the first norm.

        Image vectors of the Context-PEFT paper enter there: they join the projected token embeddings, and one norm
        brings both to one scale.
        """
        body: Any = self.base_model
        return ProjectedEmbedding(body.input_embedding["embedding"], body.input_proj)

    def _resize_token_embeddings(self, *arguments: Any, **named: Any) -> ProjectedEmbedding:  # type: ignore[override]
        # Of transformers' resizing only the table's part fits: its output embedding is the same tensor.
        embedding = self.get_input_embeddings()
        self._get_resized_embeddings(embedding.table, *arguments, **named)
        return embedding

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LswAttention) and self.config.n_registers:
            for register in (module.registers_k, module.registers_v):
                init.normal_(register, std=self.config.head_size**-0.5)


class LswModel(LswPreTrainedModel):
    """Table -> projection -> norm -> blocks -> norm; the last state, which reward heads read, is behind that norm."""

    def __init__(self, config: LswConfig) -> None:
        super().__init__(config)
        bias = config.embedding_projection_bias
        self.input_embedding = nn.ModuleDict({"embedding": nn.Embedding(config.vocab_size, config.d_vocab)})
        self.input_proj = nn.Linear(config.d_vocab, config.d_model, bias=bias)
        self.input_norm = nn.LayerNorm(config.d_model)
        self.blocks = nn.ModuleList(LswBlock(config, layer) for layer in range(config.n_layers))
        self.output_norm = nn.LayerNorm(config.d_model)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """States [rows, seq, width] after the final norm, of ids [rows, seq] or embeddings [rows, seq, width]."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(seen, seen + inputs_embeds.shape[1], device=inputs_embeds.device)[
                None
            ]
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
            allow_is_causal_skip=not self.config.n_registers,
        )
        rotary = rotary_tables(self.config, position_ids, inputs_embeds.dtype)
        hidden = self.input_norm(inputs_embeds)
        for block in self.blocks:
            hidden = block(
                hidden,
                position_embeddings=rotary,
                attention_mask=mask,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPast(
            last_hidden_state=self.output_norm(hidden), past_key_values=past_key_values
        )


class LswForCausalLM(LswPreTrainedModel, GenerationMixin):
    """The language model: its states, projected to the table's width, times the table."""

    def __init__(self, config: LswConfig) -> None:
        super().__init__(config)
        self.model = LswModel(config)
        self.head_proj = nn.Linear(config.d_model, config.d_vocab, bias=config.embedding_projection_bias)
        self.post_init()

    def get_output_embeddings(self) -> ProjectedHead:
        """States -> logits."""
        return ProjectedHead(self.head_proj, self.model.input_embedding["embedding"])  # type: ignore[arg-type]

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        position_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [rows, seq, vocabulary], and the mean cross-entropy of `labels` [rows, seq]; `kwargs` as in `LswModel`.

        `position_ids` is named, so that transformers' generation gives those of left-padded rows.
        """
        body = self.model(input_ids=input_ids, position_ids=position_ids, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.get_output_embeddings()(body.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=body.past_key_values,
            hidden_states=body.hidden_states,
            attentions=body.attentions,
        )
