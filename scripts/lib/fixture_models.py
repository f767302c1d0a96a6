"""The fixtures that scripts/make_fixtures.py makes: shapes, switches, and how each is flipped to see that it counts.

Their config.json files are spelled as such models' files are: with `rope_theta` and `rope_scaling`, or with `rope_parameters`.
"""

import dataclasses
import math

import torch


@dataclasses.dataclass
class Switch:
    """One feature taken away or changed. A test applies `model_config` to the fields of kvfold::ModelConfig."""

    name: str
    config: dict = dataclasses.field(default_factory=dict)  # keys of config.json; None: null
    model_config: dict = dataclasses.field(default_factory=dict)
    weights: str = ""  # what is done to the weights instead: "zero:SUFFIX", "one:SUFFIX"
    scaling: float = 0.0  # the scale of the attention scores instead
    head_norms: bool = True  # False: without the norms of query and key heads
    norms_less_one: bool = False  # norms whose 1 + w becomes w
    embedding_scale: float = 0.0  # of the embeddings instead


@dataclasses.dataclass
class Fixture:
    name: str
    config: dict
    n_tokens: int
    dtype: torch.dtype = torch.float32
    n_shards: int = 1
    seed: int = 1
    switches: list = dataclasses.field(default_factory=list)
    embedding_gain: float = 0.02  # small, as in trained models, so that norm_eps is seen


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
}
MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
}
QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
}
QWEN3 = {**QWEN2, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False}


GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": 4.0,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": 1,
    "final_logit_softcapping": 3.0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "initializer_range": 0.02,
    "max_position_embeddings": 8192,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 24,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "use_cache": True,
}


GEMMA3 = {
    **{key: value for key, value in GEMMA2.items() if key not in ("hidden_act", "cache_implementation")},
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "max_position_embeddings": 32768,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
}


def shapes(hidden, heads, kv_heads, ffn, layers, vocab, head_dim=None):
    found = {
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
    }
    if head_dim is not None:
        found["head_dim"] = head_dim
    return found


def eps_switch(value):
    return Switch("rms_norm_eps", {"rms_norm_eps": value}, {"rms_eps": value})


def theta_switch(value, new_spelling=False):
    edit = {"rope_parameters": {"rope_theta": value, "rope_type": "default"}} if new_spelling else {"rope_theta": value}
    return Switch("rope_theta", edit, {"rope.theta": value})


def regroup_switch(heads, kv_heads, head_dim):
    """The same weights read as other heads: another grouping and another head_dim."""
    return Switch(
        "head_grouping",
        {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim},
        {"n_heads": heads, "n_kv_heads": kv_heads, "head_dim": head_dim},
    )


def window_switch(name, window, layers, config):
    return Switch(name, config, {"layer_windows": [window] * layers if isinstance(window, int) else window})


NORMS = [
    Switch("input_norm_weight", weights="one:input_layernorm.weight"),
    Switch("post_attention_norm_weight", weights="one:post_attention_layernorm.weight"),
    Switch("final_norm_weight", weights="one:model.norm.weight"),
]
GEMMA_NORMS = [
    Switch("input_norm_weight", weights="zero:input_layernorm.weight"),
    Switch("post_attention_norm_weight", weights="zero:post_attention_layernorm.weight"),
    Switch("pre_feedforward_norm_weight", weights="zero:pre_feedforward_layernorm.weight"),
    Switch("post_feedforward_norm_weight", weights="zero:post_feedforward_layernorm.weight"),
    Switch("final_norm_weight", weights="zero:model.norm.weight"),
    Switch("norm_offset", model_config={"norm_offset": 0.0}, norms_less_one=True),
    Switch("embedding_scale", model_config={"embedding_scale": 1.0}, embedding_scale=1.0),
]
LLAMA3_ROPE = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 32,
    "rope_type": "llama3",
}


def llama3_switch(name, key, value, field):
    return Switch(name, {"rope_scaling": {**LLAMA3_ROPE, key: value}}, {field: value})


def fixtures():
    return [
        # Llama 2 as older converters wrote it: `rope_theta`, `rope_scaling: null`.
        Fixture(
            "llama_gqa",
            {**LLAMA, **shapes(64, 4, 2, 160, 3, 256), "rope_theta": 10000.0, "rope_scaling": None},
            180,
            switches=[
                theta_switch(500000.0),
                eps_switch(1e-6),
                regroup_switch(2, 1, 32),
                Switch("attention_scale", scaling=1 / math.sqrt(64)),
                Switch("tie_word_embeddings", {"tie_word_embeddings": True}, {"tie_embeddings": True}),
                *NORMS,
            ],
        ),
        # SmolLM2's head counts; the newer spelling; FFN and vocabulary not multiples of 64.
        Fixture(
            "llama_9_3",
            {
                **LLAMA,
                **shapes(72, 9, 3, 150, 2, 250, 8),
                "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
            },
            170,
            switches=[theta_switch(10000.0, True), eps_switch(1e-6), *NORMS],
        ),
        # Llama 3.1; the text is longer than the context that the scaling extends.
        Fixture(
            "llama31_rope",
            {**LLAMA, **shapes(64, 4, 2, 128, 3, 256, 32), "rope_theta": 500000.0, "rope_scaling": LLAMA3_ROPE},
            200,
            switches=[
                Switch("rope_scaling", {"rope_scaling": None}, {"rope.scaling": "none"}),
                Switch(
                    "rope_scaling_kind",
                    {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
                    {"rope.scaling": "linear", "rope.factor": 8.0},
                ),
                llama3_switch("rope_factor", "factor", 4.0, "rope.factor"),
                llama3_switch("rope_low_freq_factor", "low_freq_factor", 2.0, "rope.low_freq_factor"),
                llama3_switch("rope_high_freq_factor", "high_freq_factor", 8.0, "rope.high_freq_factor"),
                llama3_switch(
                    "rope_original_max_positions", "original_max_position_embeddings", 64, "rope.original_max_positions"
                ),
                theta_switch(10000.0),
            ],
        ),
        # Position interpolation as its first users spelled it: `type`.
        Fixture(
            "llama_linear_rope",
            {
                **LLAMA,
                **shapes(64, 4, 4, 128, 2, 256),
                "rope_theta": 10000.0,
                "rope_scaling": {"type": "linear", "factor": 4.0},
            },
            180,
            switches=[
                Switch("rope_scaling", {"rope_scaling": None}, {"rope.scaling": "none"}),
                Switch("rope_factor", {"rope_scaling": {"type": "linear", "factor": 2.0}}, {"rope.factor": 2.0}),
            ],
        ),
        # No lm_head in the file; no head_dim and no num_key_value_heads in the config (both then follow from the others).
        Fixture(
            "llama_tied",
            {
                **{key: value for key, value in LLAMA.items() if key not in ("attention_bias", "mlp_bias")},
                **{k: v for k, v in shapes(64, 4, 4, 96, 3, 320).items() if k != "num_key_value_heads"},
                "tie_word_embeddings": True,
                "rope_theta": 10000.0,
                "rope_scaling": None,
            },
            160,
            dtype=torch.bfloat16,
            switches=[theta_switch(500000.0), regroup_switch(2, 2, 32), *NORMS],
            embedding_gain=1.5 / 8,  # the head's rows as well
        ),
        Fixture(
            "llama_hd64",
            {
                **LLAMA,
                **shapes(64, 4, 2, 128, 2, 192, 64),
                "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
            },
            170,
            n_shards=2,
            switches=[theta_switch(10000.0, True), regroup_switch(8, 4, 32), eps_switch(1e-6)],
        ),
        Fixture(
            "llama_hd128",
            {
                **LLAMA,
                **shapes(64, 4, 1, 128, 2, 192, 128),
                "rope_parameters": {**LLAMA3_ROPE, "rope_theta": 500000.0},
            },
            160,
            dtype=torch.float16,
            switches=[
                Switch(
                    "rope_theta",
                    {"rope_parameters": {**LLAMA3_ROPE, "rope_theta": 10000.0}},
                    {"rope.theta": 10000.0},
                ),
                regroup_switch(8, 2, 64),
                Switch(
                    "rope_scaling",
                    {"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}},
                    {"rope.scaling": "none"},
                ),
            ],
        ),
        # head_dim 24 where hidden / heads is 16, an odd number of query heads over one KV head.
        Fixture(
            "llama_hd_other",
            {**LLAMA, **shapes(80, 5, 1, 144, 3, 208, 24), "rope_theta": 10000.0, "rope_scaling": None},
            160,
            switches=[
                theta_switch(500000.0),
                regroup_switch(10, 2, 12),
                Switch("attention_scale", scaling=1 / math.sqrt(16)),
            ],
        ),
        Fixture(
            "mistral_window",
            {**MISTRAL, **shapes(64, 4, 2, 128, 3, 256), "rope_theta": 10000.0, "sliding_window": 24},
            190,
            switches=[
                window_switch("sliding_window", 0, 3, {"sliding_window": None}),
                window_switch("sliding_window_less_one", 23, 3, {"sliding_window": 23}),
                window_switch("sliding_window_and_one", 25, 3, {"sliding_window": 25}),
                theta_switch(500000.0),
                regroup_switch(2, 1, 32),
                eps_switch(1e-6),
                *NORMS,
            ],
        ),
        Fixture(
            "mistral_full",
            {
                **MISTRAL,
                **shapes(64, 8, 4, 112, 2, 256, 16),
                "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
                "sliding_window": None,
            },
            170,
            switches=[
                window_switch("sliding_window", 24, 2, {"sliding_window": 24}),
                theta_switch(10000.0, True),
                regroup_switch(4, 2, 32),
            ],
        ),
        # QKV bias; a window that is switched off, as in every Qwen2.5 config.
        Fixture(
            "qwen2",
            {
                **QWEN2,
                **shapes(64, 4, 2, 160, 3, 256),
                "rope_theta": 1000000.0,
                "sliding_window": 24,
                "max_window_layers": 1,
                "use_sliding_window": False,
            },
            180,
            switches=[
                Switch("qkv_bias", weights="zero:_proj.bias", model_config={"qkv_bias": False}),
                Switch("q_bias", weights="zero:q_proj.bias"),
                Switch("k_bias", weights="zero:k_proj.bias"),
                Switch("v_bias", weights="zero:v_proj.bias"),
                window_switch("use_sliding_window", [0, 24, 24], 3, {"use_sliding_window": True}),
                theta_switch(10000.0),
                regroup_switch(2, 1, 32),
                eps_switch(1e-5),
                *NORMS,
            ],
        ),
        # The same with its window switched on: the first layer sees everything, the others 24 positions.
        Fixture(
            "qwen2_mixed_window",
            {
                **QWEN2,
                **shapes(64, 6, 2, 96, 3, 256, 16),
                "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
                "sliding_window": 24,
                "max_window_layers": 1,
                "use_sliding_window": True,
            },
            180,
            switches=[
                window_switch("sliding_window_all_layers", 24, 3, {"layer_types": ["sliding_attention"] * 3}),
                window_switch(
                    "use_sliding_window", 0, 3, {"use_sliding_window": False, "layer_types": ["full_attention"] * 3}
                ),
                Switch("qkv_bias", weights="zero:_proj.bias", model_config={"qkv_bias": False}),
            ],
        ),
        # Norms of every query and key head, a head_dim of its own, tied embeddings: a small Qwen3.
        Fixture(
            "qwen3",
            {
                **QWEN3,
                **shapes(64, 6, 3, 96, 3, 256, 24),
                "max_window_layers": 3,
                "rope_scaling": None,
                "rope_theta": 1000000.0,
                "sliding_window": None,
                "tie_word_embeddings": True,
                "use_sliding_window": False,
            },
            180,
            switches=[
                Switch("q_norm_weight", weights="one:q_norm.weight"),
                Switch("k_norm_weight", weights="one:k_norm.weight"),
                Switch("qk_norm", config={}, model_config={"qk_norm": False}, head_norms=False),
                window_switch("use_sliding_window", 24, 3,
                              {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 0}),
                theta_switch(10000.0),
                eps_switch(1e-3),
                *NORMS,
            ],
        ),
        # Gemma 2: every other layer slides, scores by a scalar that is not head_dim. The text is longer than the window.
        Fixture(
            "gemma2",
            {**GEMMA2, **shapes(72, 6, 3, 96, 3, 256, 24), "query_pre_attn_scalar": 40},
            160,
            switches=[
                Switch("score_cap", {"attn_logit_softcapping": None}, {"score_cap": 0.0}),
                Switch("logit_cap", {"final_logit_softcapping": None}, {"logit_cap": 0.0}),
                Switch("query_pre_attn_scalar", {"query_pre_attn_scalar": 24}, {"attention_scale": 24**-0.5}),
                Switch("activation", {"hidden_activation": "silu"}, {"activation": "silu"}),
                window_switch("layer_types", [0, 24, 0], 3,
                              {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
                window_switch("sliding_window", [25, 0, 25], 3, {"sliding_window": 25}),
                theta_switch(500000.0),
                eps_switch(1e-2),
                *GEMMA_NORMS,
            ],
            embedding_gain=1.5 / 8.5,  # the head's rows as well
        ),
        # The same as GGUF can say it: scores by head_dim.
        Fixture(
            "gemma2_hd32",
            {**GEMMA2, **shapes(64, 4, 2, 144, 3, 320, 32), "query_pre_attn_scalar": 32, "rms_norm_eps": 1e-05},
            150,
            switches=[eps_switch(1e-2), *GEMMA_NORMS],
            embedding_gain=1.5 / 8,
        ),
        # Gemma 3: norms of query and key heads, two RoPEs of which one is scaled, every third layer sees all.
        Fixture(
            "gemma3",
            {
                **GEMMA3,
                **shapes(72, 6, 3, 96, 3, 256, 24),
                "query_pre_attn_scalar": 40,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window_pattern": 3,
            },
            160,
            switches=[
                Switch("q_norm_weight", weights="zero:q_norm.weight"),
                Switch("k_norm_weight", weights="zero:k_norm.weight"),
                Switch("rope_scaling", {"rope_scaling": None}, {"rope.scaling": "none"}),
                Switch("rope_theta", {"rope_theta": 10000.0}, {"rope.theta": 10000.0}),
                Switch("rope_local_base_freq", {"rope_local_base_freq": 1000.0}, {"local_rope.theta": 1000.0}),
                Switch("query_pre_attn_scalar", {"query_pre_attn_scalar": 24}, {"attention_scale": 24**-0.5}),
                Switch("logit_cap", {"final_logit_softcapping": 3.0}, {"logit_cap": 3.0}),
                window_switch("sliding_window", [25, 25, 0], 3, {"sliding_window": 25}),
                eps_switch(1e-2),
                *GEMMA_NORMS,
            ],
            embedding_gain=1.5 / 8.5,
        ),
        # As transformers 5 writes it, and as GGUF can say it: period 6, scores by head_dim.
        Fixture(
            "gemma3_period6",
            {
                **{key: value for key, value in GEMMA3.items() if not key.startswith("rope_")},
                **shapes(48, 4, 2, 80, 6, 192, 24),
                "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
                "query_pre_attn_scalar": 24,
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1000000.0, "rope_type": "default"},
                    "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
                },
                "sliding_window": 20,
            },
            150,
            switches=[
                window_switch("layer_types", [0, 20, 20, 20, 20, 20], 6,
                              {"layer_types": ["full_attention"] + ["sliding_attention"] * 5}),
                eps_switch(1e-2),
                *GEMMA_NORMS,
            ],
            embedding_gain=1.5 / 7,
        ),
    ]


# GGUF twins: the same weights, text and references in the other format.
GGUF_TWINS = {"llama_gqa_gguf": "llama_gqa", "llama31_rope_gguf": "llama31_rope", "qwen3_gguf": "qwen3",
              "gemma2_gguf": "gemma2_hd32", "gemma3_gguf": "gemma3_period6"}

# By the end of a tensor's name, how the quantised fixture stores it. Its 768 columns of down_proj are cut among two and three
# ranks, and the 256 of o_proj among two and four, inside a block of 256.
QUANTISED_TYPES = {
    "embed_tokens.weight": "Q6_K",
    "q_proj.weight": "Q5_0",
    "k_proj.weight": "Q5_1",
    "v_proj.weight": "Q8_0",
    "o_proj.weight": "Q4_K",
    "gate_proj.weight": "Q4_K",
    "up_proj.weight": "Q5_K",
    "down_proj.weight": "Q6_K",
    "lm_head.weight": "Q5_K",
}


def quantised_fixture():
    return Fixture(
        "llama_quantised_gguf",
        {**LLAMA, **shapes(256, 4, 2, 768, 1, 256), "rope_theta": 10000.0, "rope_scaling": None},
        100,
    )
