"""A model that says one token after each, whatever came before: its layers add nothing, its head maps a token to the next."""

import json
import os
import struct

from byte_model import alphabet

HIDDEN = 64
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 320
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def token(text):
    """The id of a special token or of a character that is one byte."""
    return 256 + SPECIALS.index(text) if text in SPECIALS else alphabet().index({"\n": "\u010a", " ": "\u0120"}.get(text, text))


def tensors(says):
    """`says`: the token behind each that is said."""
    places = {name: i for i, name in enumerate(says)}  # each token that matters is a direction of its own
    flat = lambda rows, cols: [0.0] * (rows * cols)
    embedding, head = flat(VOCABULARY, HIDDEN), flat(VOCABULARY, HIDDEN)
    for name, after in says.items():
        embedding[token(name) * HIDDEN + places[name]] = 8.0
        head[token(after) * HIDDEN + places[name]] = 4.0
    layer = "model.layers.0."
    return {"model.embed_tokens.weight": ([VOCABULARY, HIDDEN], embedding), "lm_head.weight": ([VOCABULARY, HIDDEN], head),
            "model.norm.weight": ([HIDDEN], [1.0] * HIDDEN), layer + "input_layernorm.weight": ([HIDDEN], [1.0] * HIDDEN),
            layer + "post_attention_layernorm.weight": ([HIDDEN], [1.0] * HIDDEN),
            **{layer + f"self_attn.{name}_proj.weight": ([rows, HIDDEN], flat(rows, HIDDEN))
               for name, rows in (("q", 64), ("k", 32), ("v", 32), ("o", 64))},
            **{layer + f"mlp.{name}_proj.weight": ([64, HIDDEN], flat(64, HIDDEN)) for name in ("gate", "up", "down")}}


def chain_model(folder, says, config=None, tokenizer_config=None, added=SPECIALS):
    """A Hugging Face folder, whose path is returned. `added`: what stands in tokenizer.json beside the bytes."""
    model = os.path.join(folder, "chain")
    os.makedirs(model, exist_ok=True)
    header, data = {}, b""
    for name, (shape, values) in tensors(says).items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(os.path.join(model, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    files = {
        "config.json": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": 64,
                        "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": VOCABULARY,
                        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
                        "tie_word_embeddings": False, **(config or {})},
        "tokenizer.json": {"added_tokens": [{"id": 256 + i, "content": name, **flags} for i, name in enumerate(added)],
                           "pre_tokenizer": byte_level, "decoder": byte_level,
                           "model": {"type": "BPE", "vocab": {letter: i for i, letter in enumerate(alphabet())}, "merges": []}},
        "tokenizer_config.json": {"chat_template": CHATML, **(tokenizer_config or {})},
    }
    for name, content in files.items():
        with open(os.path.join(model, name), "w", encoding="utf-8") as file:
            json.dump(content, file)
    return model
