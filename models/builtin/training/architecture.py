"""The two tiny models, both of stock transformers classes."""

from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from texts import VOCABULARY

SHARED = dict(
    vocab_size=VOCABULARY,
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=6,
    max_position_embeddings=4096,
    tie_word_embeddings=True,
    bos_token_id=0,
    eos_token_id=0,
    attn_implementation="sdpa",
)
# The slow frequencies of llama3 rotary embedding turn little over 4096 positions, so that
# heads can match contents from any distance; the fast ones still tell neighbours apart.
LLAMA_ROPE = dict(
    rope_type="llama3",
    rope_theta=1e6,
    factor=16.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=512,
)
# GPT-NeoX turns only a quarter of each head; the rest matches contents as it is.
NEOX_ROPE = dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.25)


def make_model(kind):
    """An untrained model; kind is `llama` or `pythia`."""
    if kind == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                **SHARED,
                intermediate_size=384,
                num_key_value_heads=2,
                head_dim=32,
                rms_norm_eps=1e-5,
                rope_parameters=LLAMA_ROPE,
            )
        )
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **SHARED,
            intermediate_size=512,
            use_parallel_residual=True,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            rope_parameters=NEOX_ROPE,
        )
    )


def body_of(model):
    """The model without its output head."""
    return model.model if model.config.model_type == "llama" else model.gpt_neox
