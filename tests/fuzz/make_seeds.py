"""Writes seeds/: small right inputs of every fuzz target, and wrong ones that reach far. Run from anywhere: python3 make_seeds.py."""

import json
import pathlib
import shutil
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = HERE / "seeds"
sys.path.insert(0, str(HERE.parents[1] / "scripts"))
import chat_cases  # noqa: E402
import chat_templates  # noqa: E402


def write(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# --- safetensors

def safetensors(header, data=b""):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    return struct.pack("<Q", len(text)) + text.encode() + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write_safetensors():
    write("safetensors", "types", safetensors({
        "__metadata__": {"format": "pt"},
        "model.norm.weight": entry("F32", [2], 0, 8),
        "model.layers.0.self_attn.q_proj.weight": entry("BF16", [3, 2], 8, 20),
        "lm_head.weight": entry("F16", [1, 2], 20, 24),
        "cube": entry("F32", [1, 1, 1], 24, 28),
        "ids": entry("I64", [1], 28, 36)}, bytes(range(36))))
    write("safetensors", "empty", safetensors("{}"))
    write("safetensors", "overlap", safetensors({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12)))
    write("safetensors", "nothing", safetensors({"a": entry("F32", [0, 4], 0, 0), "b": entry("U8", [], 0, 1)}, b"x"))
    write("safetensors", "index", json.dumps({"metadata": {"total_size": 8}, "weight_map": {"a": "model-1.safetensors"}}))


# --- GGUF: numbers of value types and of tensor types as in the format's description

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q", I64: "<q", F64: "<d"}


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        element, values = value
        return struct.pack("<IQ", element, len(values)) + b"".join(gguf_value(element, v) for v in values)
    return struct.pack(PACK[kind], value)


def gguf(values, tensors=(), version=3, alignment=32):
    """`tensors`: (name, dims fastest first, type, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    for key, kind, value in values:
        head += gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)
    data = b""
    for name, dims, kind, stored in tensors:
        data += bytes(-len(data) % alignment)
        head += gguf_string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<q", d) for d in dims)
        head += struct.pack("<IQ", kind, len(data))
        data += stored
    return head + bytes(-len(head) % alignment) + data


def architecture(name="llama"):
    return [("general.architecture", STRING, name), (f"{name}.block_count", U32, 1), (f"{name}.context_length", U32, 64),
            (f"{name}.embedding_length", U32, 4), (f"{name}.feed_forward_length", U32, 8),
            (f"{name}.attention.head_count", U32, 2), (f"{name}.attention.head_count_kv", U32, 1),
            (f"{name}.attention.layer_norm_rms_epsilon", F32, 1e-5), (f"{name}.rope.freq_base", F32, 1e4)]


def vocabulary(pre="smollm"):
    tokens = ["<s>", "</s>", "a", "b", "\u0120", "1", "\u00c3", "ab", "\u0120a", "\u010a", "I", "'", "s"]
    types = [3, 3] + [1] * (len(tokens) - 2)
    return [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, pre),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)), ("tokenizer.ggml.token_type", ARRAY, (I32, types)),
            ("tokenizer.ggml.merges", ARRAY, (STRING, ["a b", "\u0120 a"])),
            ("tokenizer.ggml.bos_token_id", U32, 0), ("tokenizer.ggml.eos_token_id", U32, 1)]


# name, type, elements and bytes of a block
TENSOR_TYPES = [("F32", 0, 1, 4), ("F16", 1, 1, 2), ("Q4_0", 2, 32, 18), ("Q4_1", 3, 32, 20), ("Q5_0", 6, 32, 22), ("Q5_1", 7, 32, 24),
                ("Q8_0", 8, 32, 34), ("Q2_K", 10, 256, 84), ("Q3_K", 11, 256, 110), ("Q4_K", 12, 256, 144), ("Q5_K", 13, 256, 176),
                ("Q6_K", 14, 256, 210), ("IQ2_XXS", 16, 256, 66), ("IQ2_XS", 17, 256, 74), ("IQ3_XXS", 18, 256, 98),
                ("IQ1_S", 19, 256, 50), ("IQ4_NL", 20, 32, 18), ("IQ3_S", 21, 256, 110), ("IQ2_S", 22, 256, 82),
                ("IQ4_XS", 23, 256, 136), ("IQ1_M", 29, 256, 56), ("BF16", 30, 1, 2), ("TQ1_0", 34, 256, 54), ("TQ2_0", 35, 256, 66),
                ("MXFP4", 39, 32, 17), ("Q8_K", 15, 256, 292)]


def write_gguf():
    plain = [("token_embd.weight", [4, 3], 0, bytes(48)), ("output_norm.weight", [4], 0, bytes(16)),
             ("blk.0.attn_q.weight", [4, 4], 1, bytes(32)), ("blk.0.attn_k.bias", [2], 30, b"abcd")]
    write("gguf", "model", gguf(architecture() + vocabulary(), plain))
    write("gguf", "llama3", gguf(architecture() + vocabulary("llama-bpe") + [("tokenizer.ggml.add_bos_token", BOOL, True)]))
    write("gguf", "qwen2", gguf(architecture("qwen2") + vocabulary("qwen2")
                                + [("tokenizer.chat_template", STRING, chat_templates.CHATML)], version=2))
    for name, kind, elements, size in TENSOR_TYPES:
        data = bytes((7 * i + 1) % 256 for i in range(2 * size))
        write("gguf", f"tensor_{name}", gguf(architecture(), [("blk.0.ffn_up.weight", [elements, 2], kind, data)]))
    write("gguf", "rope", gguf(architecture(), [("rope_freqs.weight", [1], 0, struct.pack("<f", 2.0))]))
    write("gguf", "values", gguf([("general.alignment", U32, 64), ("general.architecture", STRING, "llama"), ("a", U8, 1), ("b", I8, -1),
                                  ("c", U16, 1), ("d", I16, -1), ("e", I32, -1), ("f", BOOL, False), ("g", U64, 1 << 63),
                                  ("h", I64, -1), ("i", F64, 0.5), ("j", ARRAY, (ARRAY, [(ARRAY, [(U8, [1])])])),
                                  ("llama.block_count", ARRAY, (U64, [1, 1]))], alignment=64))
    write("gguf", "split", gguf(architecture() + [("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 1)]))


# --- tokenizer.json, behind a zero byte a text

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def added(number, content, **switches):
    fields = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": content, **fields, **switches}


def tokenizer(**parts):
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [added(8, "<s>")], "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u0120a": 4, "1": 5, "\u00c3": 6, "aa": 7},
                  "merges": ["a b", "\u0120 a", "a a"]}}
    return json.dumps({**whole, **parts}, separators=(",", ":"), ensure_ascii=False)


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def write_tokenizers():
    model = json.loads(tokenizer())["model"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}

    def sequence(*steps):
        return {"type": "Sequence", "pretokenizers": [*steps, byte_level]}

    text = "\0a b <s> ab1 aa\xff"
    write("tokenizer_json", "plain", (tokenizer() + "\0a b ab1 <s>").encode())
    write("tokenizer_json", "not_utf8", tokenizer().encode() + b"\0\xff\xfe")
    write("tokenizer_json", "llama3", tokenizer(
        pre_tokenizer=sequence(split({"Regex": LLAMA3})), model={**model, "ignore_merges": True, "merges": [["a", "b"]]},
        post_processor={"type": "Sequence", "processors": [byte_level, {
            "type": "TemplateProcessing", "pair": [], "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [8], "tokens": ["<s>"]}}}]}) + text)
    write("tokenizer_json", "digits", tokenizer(
        pre_tokenizer=sequence({"type": "Digits", "individual_digits": True}, split({"String": " "}, "MergedWithNext")),
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}, model={**model, "unk_token": "b", "fuse_unk": True}) + text)
    write("tokenizer_json", "strips", tokenizer(added_tokens=[
        added(8, " ", lstrip=True, rstrip=True), added(9, "aa<", normalized=True, single_word=True), added(3, "ab", special=False)]) + text)
    for behavior in ("Removed", "MergedWithPrevious", "Contiguous"):
        write("tokenizer_json", behavior, tokenizer(pre_tokenizer=sequence(split({"Regex": r"(a|b)+(?=\d)"}, behavior, True))) + text)
    write("tokenizer_json", "backtracks", tokenizer(pre_tokenizer=sequence(split({"Regex": "(?:a+)+[^a]"}))) + text)
    write("tokenizer_json", "unigram", tokenizer(model={"type": "Unigram", "vocab": []}))


# --- the rest

def write_configs():
    base = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 160, "vocab_size": 256, "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5, "rope_theta": 1e4, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}
    qwen2 = {**base, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    mistral = {**base, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    for name, config in {
            "llama": base,
            "llama3_rope": {**base, "head_dim": 24, "rope_scaling": {
                "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64, "rope_type": "llama3"}},
            "linear": {**base, "rope_scaling": {"type": "linear", "factor": 4}, "tie_word_embeddings": True, "attention_bias": False},
            "parameters": {**base, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            "qwen2": {**qwen2, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
            "qwen2_layers": {**qwen2, "use_sliding_window": True, "sliding_window": 9,
                             "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
            "mistral": {**mistral, "sliding_window": 9},
            "generation": {"eos_token_id": [7, 2, 9], "bos_token_id": 5, "do_sample": True}}.items():
        write("config_json", name, json.dumps(config, separators=(",", ":")))


def write_prompts():
    for name, line in {
            "prompt": {"id": "a", "prompt": "Once \u00e4 \u4e16", "max_new_tokens": 3, "temperature": 0.5, "seed": 7, "stop": ["\n", "."]},
            "messages": {"id": "b", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "document": "d.txt"},
            "tokens": {"id": "c", "tokens": [1, 2, 3]},
            "wrong": {"id": 1, "prompt": ["x"], "seed": -1}}.items():
        write("prompt_line", name, json.dumps(line, ensure_ascii=False))


def write_templates():
    for name, source in vars(chat_templates).items():
        if name.isupper() and isinstance(source, str) and "{%" in source:
            write("chat_template", name.lower(), source + "\0 what? ")
    write("chat_template", "arithmetic", "{% set a = 7 %}{% set a = a + a - 2 % 3 %}{{ -a }}{{ a ~ '' if a is defined else none }}")
    write("chat_template", "slices", "{% for m in messages[1:-1] %}{{ loop.index0 }}{{ m['content'] | trim }}{{ m.role }}{% endfor %}"
          "{{ messages | length }}{{ strftime_now('%d %b %Y') }}{{ raise_exception('no') }}")
    for i in range(0, len(chat_cases.EXPRESSIONS), 20):
        write("chat_template", f"expressions{i}", "".join("{{ " + e + " }}" for e in chat_cases.EXPRESSIONS[i : i + 20]))
    write("chat_template", "config", json.dumps({"bos_token": {"content": "<s>"}, "chat_template": [
        {"name": "default", "template": chat_templates.CHATML}, {"name": "tool_use", "template": ""}]}))


if __name__ == "__main__":
    shutil.rmtree(SEEDS, ignore_errors=True)
    for writer in (write_safetensors, write_gguf, write_tokenizers, write_configs, write_prompts, write_templates):
        writer()
