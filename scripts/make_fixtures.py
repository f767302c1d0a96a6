#!/usr/bin/env python3
"""Makes tests/fixtures/models/: tiny random checkpoints and what Hugging Face transformers computes from them.

The Python packages live in a virtual environment outside the repository:

    python3 -m venv ~/.cache/kvfold/reference
    ~/.cache/kvfold/reference/bin/pip install torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 \
        safetensors==0.8.0 numpy==2.4.6 gguf==0.19.0
    ~/.cache/kvfold/reference/bin/python scripts/make_fixtures.py              # all fixtures
    ~/.cache/kvfold/reference/bin/python scripts/make_fixtures.py llama_gqa    # some of them
    ~/.cache/kvfold/reference/bin/python scripts/make_fixtures.py --check      # compare with what is committed

A folder holds, besides the checkpoint itself:

    reference/tokens.json    the text: an array of token ids
    reference/logits.npy     float32 [tokens, vocab]: transformers' logits in float32 on the CPU, attention "eager"
    reference/greedy.json    the ids generated greedily after the text, and the smallest lead of the best logit over the second
    reference/bf16.json      how far transformers' own bf16 pass is from those logits, of their size
    reference/switches.json  for every switch of the model: how it was flipped, and by how much the logits moved

Weights are drawn with a gain of 1.5 / sqrt(fan_in), norm weights around 1, and biases that are not small: with the usual 0.02 a
feature that is left out moves the logits by 1e-6 and no test would see it. That every feature is seen is asserted here.

Weights, tokens and configs are the same bytes on every machine; logits are the same to rounding (about 1e-6).
"""

import argparse
import copy
import filecmp
import json
import math
import pathlib
import shutil
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

from lib.fixture_models import GGUF_TWINS, QUANTISED_TYPES, fixtures, quantised_fixture

GREEDY_STEPS = 32
GREEDY_MARGIN = 1e-3  # ten times the tolerance of the logits, so that no rounding changes a greedy text
SWITCH_MOVES = 1e-2  # a hundred times the tolerance of the logits
ROUNDING = 1.5e-5  # a float32 pass may differ from a float64 pass by this much: a seventh of the tolerance of the logits
FOLDER_BYTES = 1_000_000


def norm_offset(config):
    """What norm weights are drawn around: those of Gemma multiply by 1 + w."""
    return 0 if config["model_type"].startswith("gemma") else 1


def draw_weights(model, fixture):
    """The state dict of `model` with random values, drawn by name order so that nothing depends on a torch version."""
    random = np.random.default_rng(fixture.seed)
    state = {}
    tied = fixture.config["tie_word_embeddings"]
    for name, tensor in sorted(model.state_dict().items()):
        if tied and name == "lm_head.weight":
            continue
        noise = random.standard_normal(tuple(tensor.shape), dtype=np.float32)
        if name.endswith("norm.weight"):
            value = norm_offset(fixture.config) + 0.3 * noise
        elif name.endswith("embed_tokens.weight"):
            value = fixture.embedding_gain * noise
        elif name.endswith(".bias"):
            value = 0.5 * noise
        else:
            value = noise * np.float32(1.5 / math.sqrt(tensor.shape[1]))
        state[name] = torch.from_numpy(value).to(fixture.dtype).contiguous()
    return state


def save_weights(state, folder, n_shards):
    metadata = {"format": "pt"}
    if n_shards == 1:
        save_file(state, folder / "model.safetensors", metadata)
        return
    names = sorted(state)
    weight_map = {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05d}-of-{n_shards:05d}.safetensors"
        held = names[len(names) * shard // n_shards : len(names) * (shard + 1) // n_shards]
        save_file({name: state[name] for name in held}, folder / file, metadata)
        weight_map.update({name: file for name in held})
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def build_model(config, state):
    """transformers' model of a config.json's content and a state dict, in float32 with eager attention."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        parsed = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32)
    wanted = {
        name: tensor.float()
        for name, tensor in state.items()
        if not (name == "lm_head.weight" and config["tie_word_embeddings"])
    }
    missing, unexpected = model.load_state_dict(wanted, strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= ({"lm_head.weight"} if config["tie_word_embeddings"] else set()), missing
    return model.eval()


@torch.no_grad()
def logits_of(model, tokens, attention_mask=None):
    found = model(torch.tensor([tokens]), attention_mask=attention_mask, use_cache=False)
    return found.logits[0].numpy()


@torch.no_grad()
def write_bf16(reference, model, tokens, logits):
    """The relative distance of the model's own bf16 pass, which one of ours is held to."""
    narrow = copy.deepcopy(model)
    rotary = narrow.model.rotary_emb
    frequencies = {name: buffer.clone() for name, buffer in rotary.named_buffers()}
    narrow.to(torch.bfloat16)
    for name, buffer in frequencies.items():
        setattr(rotary, name, buffer)  # float32, as from_pretrained leaves them
    found = narrow(torch.tensor([tokens]), use_cache=False).logits[0].float().numpy().astype(np.float64)
    distance = float(np.linalg.norm(found - logits) / np.linalg.norm(logits))
    write_json(reference / "bf16.json", {"distance": float(f"{distance:.3g}")})


@torch.no_grad()
def generate_greedily(model, tokens):
    """(ids, smallest lead of the best logit over the second). Every step recomputes the whole text: no cache to trust."""
    text = list(tokens)
    margin = math.inf
    for _ in range(GREEDY_STEPS):
        best = torch.topk(model(torch.tensor([text]), use_cache=False).logits[0, -1], 2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        text.append(int(best.indices[0]))
    return text[len(tokens) :], margin


def layer_windows(config):
    """By layer, how many positions a query sees, itself included; 0: all. Read from config.json by its own words."""
    window = config.get("sliding_window")
    layers = config["num_hidden_layers"]
    if window is None or not config.get("use_sliding_window", True):
        return [0] * layers
    types = config.get("layer_types")
    if types is None and config["model_type"].startswith("gemma"):
        period = 2 if config["model_type"] == "gemma2" else config["sliding_window_pattern"]
        types = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(layers)]
    if types is not None:
        return [window if kind == "sliding_attention" else 0 for kind in types]
    return [0 if i < config.get("max_window_layers", 0) else window for i in range(layers)]


def check_masks(model, config, tokens, want):
    """What transformers computed is what masks written out by hand give: causal, and of the window where there is one."""
    n_tokens = len(tokens)
    query, key = np.arange(n_tokens)[:, None], np.arange(n_tokens)[None, :]
    for layer, window in zip(model.model.layers, layer_windows(config)):
        seen = (key <= query) & ((query - key < window) if window else True)
        mask = torch.from_numpy(np.where(seen, 0.0, -np.inf).astype(np.float32))[None, None]
        inner = layer.self_attn.forward

        def forward(*args, inner=inner, mask=mask, **kwargs):
            return inner(*args, **{**kwargs, "attention_mask": mask})

        layer.self_attn.forward = forward
    got = logits_of(model, tokens)
    for layer in model.model.layers:
        del layer.self_attn.forward
    difference = float(np.abs(got - want).max())
    assert difference < ROUNDING, f"transformers' mask is not the one of the config: logits differ by {difference}"


def measure_switch(fixture, switch, state, tokens, want):
    config = {**copy.deepcopy(fixture.config), **switch.config}
    edited = dict(state)
    changed = not switch.weights
    if switch.weights:
        kind, suffix = switch.weights.split(":")
        for name in edited:
            if name.endswith(suffix):
                edited[name] = torch.full_like(edited[name], {"zero": 0.0, "one": 1.0}[kind])
                changed = True
    assert changed, f"{fixture.name}: {switch.weights} names no tensor"
    if switch.norms_less_one:
        edited = {name: tensor - 1 if name.endswith("norm.weight") else tensor for name, tensor in edited.items()}
    model = build_model(config, edited)
    if switch.embedding_scale:
        model.model.embed_tokens.embed_scale.fill_(switch.embedding_scale)
    if switch.scaling:
        for layer in model.model.layers:
            layer.self_attn.scaling = switch.scaling
    if not switch.head_norms:
        for layer in model.model.layers:
            layer.self_attn.q_norm = layer.self_attn.k_norm = torch.nn.Identity()
    moved = float(np.abs(logits_of(model, tokens) - want).max())
    assert moved >= SWITCH_MOVES, f"{fixture.name}: switch {switch.name} moves the logits by {moved} only"
    entry = {"switch": switch.name, "moved": float(f"{moved:.4g}")}
    if switch.config:
        entry["config"] = switch.config
    if switch.model_config:
        entry["model_config"] = switch.model_config
    if switch.weights:
        entry["weights"] = switch.weights
    if switch.scaling:
        entry["attention_scale"] = switch.scaling
    return entry


def write_json(path, value):
    path.write_text(json.dumps(value) + "\n")


def make_fixture(fixture, root):
    folder = root / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    reference = folder / "reference"
    reference.mkdir(parents=True)
    config = dict(fixture.config)
    config["torch_dtype"] = str(fixture.dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    with torch.device("meta"):
        bare = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    while True:
        tokens = np.random.default_rng(1000 + fixture.seed).integers(0, config["vocab_size"], fixture.n_tokens).tolist()
        state = draw_weights(bare, fixture)
        exact = logits_of(build_model(config, state).double(), tokens)
        rounding = float(np.abs(logits_of(build_model(config, state), tokens) - exact).max())
        greedy, margin = generate_greedily(build_model(config, state), tokens)
        if margin > GREEDY_MARGIN and rounding < ROUNDING:
            break
        fixture.seed += 1
    save_weights(state, folder, fixture.n_shards)

    # The reference is what transformers reads from the files, not what was meant to be in them.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    logits = logits_of(model.eval(), tokens)
    assert logits.dtype == np.float32 and logits.shape == (fixture.n_tokens, config["vocab_size"])
    assert np.array_equal(logits, logits_of(build_model(config, state), tokens))
    check_masks(model, config, tokens, logits)

    switches = [measure_switch(fixture, switch, state, tokens, logits) for switch in fixture.switches]
    write_json(reference / "tokens.json", tokens)
    np.save(reference / "logits.npy", np.ascontiguousarray(logits), allow_pickle=False)
    write_json(reference / "greedy.json", {"tokens": greedy, "margin": float(f"{margin:.4g}")})
    write_bf16(reference, model, tokens, logits)
    (reference / "switches.json").write_text(
        "[\n" + ",\n".join("  " + json.dumps(switch) for switch in switches) + "\n]\n"
    )
    report(folder, f"seed {fixture.seed}, margin {margin:.4f}, rounding {rounding:.1e}")
    print("    " + ", ".join(f"{switch['switch']} {switch['moved']}" for switch in switches))


def permute_rows(weight, n_heads):
    """Rows of Q or K as llama.cpp's converter stores a Llama: the halves of each head interleaved (LlamaModel.permute)."""
    return (
        weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def llama3_rope_factors(config):
    """llama.cpp's rope_freqs.weight [head_dim / 2]: what each frequency is divided by (LlamaModel.generate_extra_tensors)."""
    scaling = config["rope_scaling"]
    head_dim = config["head_dim"]
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * config["rope_theta"] ** (i / head_dim)
        turns = scaling["original_max_position_embeddings"] / wavelength
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        if turns > high:
            factors.append(1.0)
        elif turns < low:
            factors.append(scaling["factor"])
        else:
            smooth = (turns - low) / (high - low)
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def start_gguf(path, name, config, file_type):
    """A writer with all that the head of a Llama says, or of another family under its own name."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim", config["hidden_size"] // heads)
    writer = gguf.GGUFWriter(path, config["model_type"].removesuffix("_text"))
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(head_dim)
    if head_dim != config["hidden_size"] // heads:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    by_type = config.get("rope_parameters")
    writer.add_rope_freq_base(by_type["full_attention"]["rope_theta"] if by_type else config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"].startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
        if config["attn_logit_softcapping"]:
            writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
            writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([f"<{i}>" for i in range(config["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    return writer


def finish_gguf(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_gguf_twin(name, fixture, root):
    """Writes the fixture again as a .gguf file, with the same text and references, and reads it back by transformers."""
    source, folder = root / fixture.name, root / name
    config = json.loads((source / "config.json").read_text())
    state = load_file(source / "model.safetensors")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(source / "reference", folder / "reference", ignore=shutil.ignore_patterns("switches.json"))

    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = start_gguf(folder / "model.gguf", fixture.name, config, gguf.LlamaFileType.ALL_F32)
    is_llama = config["model_type"] == "llama"
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[config["model_type"].removesuffix("_text").upper()], config["num_hidden_layers"])
    for hf_name, tensor in sorted(state.items()):
        value = tensor.numpy()
        if hf_name.endswith("norm.weight"):  # a file's norms hold Gemma's 1
            value = value + np.float32(1 - norm_offset(config))
        if is_llama and hf_name.endswith("q_proj.weight"):
            value = permute_rows(value, heads)
        elif is_llama and hf_name.endswith("k_proj.weight"):
            value = permute_rows(value, kv_heads)
        writer.add_tensor(names.get_name(hf_name, (".weight",)), np.ascontiguousarray(value))
    factors = llama3_rope_factors(config) if config.get("rope_scaling") else None
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    finish_gguf(writer)

    read_config = transformers.AutoConfig.from_pretrained(folder, gguf_file="model.gguf")
    # transformers does not read attention.key_length of others than Llama, nor all switches of Gemma.
    for key in ("head_dim", "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "sliding_window",
                "layer_types", "rope_parameters"):
        if key in config and not is_llama:
            setattr(read_config, key, config[key])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=read_config, gguf_file="model.gguf", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    if factors is not None:  # transformers does not read rope_freqs.weight
        model.model.rotary_emb.inv_freq /= torch.from_numpy(factors)
    tokens = json.loads((folder / "reference" / "tokens.json").read_text())
    logits = logits_of(model, tokens)
    difference = float(np.abs(logits - np.load(folder / "reference" / "logits.npy")).max())
    # Frequencies divided by factors round otherwise than those of the formula: one unit in the last place, times 200 positions.
    allowed = ROUNDING if factors is None else 3 * ROUNDING
    assert difference < allowed, f"{name}: transformers reads other logits from the .gguf file, by {difference}"
    greedy = json.loads((folder / "reference" / "greedy.json").read_text())
    assert generate_greedily(model, tokens)[0] == greedy["tokens"], f"{name}: the .gguf file's greedy text is another"
    np.save(folder / "reference" / "logits.npy", np.ascontiguousarray(logits), allow_pickle=False)
    write_bf16(folder / "reference", model, tokens, logits)
    report(folder, f"logits read back within {difference:.1e} of {fixture.name}'s")


# By type: where its scale and its minimum stand in a block, what the minimum must be of the scale so that values are around
# zero, and the deviation of the values of random bytes, in scales.
RANDOM_BLOCKS = {
    "Q8_0": (0, None, 0, 74), "Q5_0": (0, None, 0, 9.2), "Q5_1": (0, 2, -15.5, 9.2),
    "Q4_K": (0, 2, 7.5, 257), "Q5_K": (0, 2, 15.5, 530), "Q6_K": (208, None, 0, 1370),
}  # fmt: skip


def random_blocks(kind, n_rows, n_columns, deviation, random):
    """Rows of random blocks whose values have about this deviation: gguf-py reads the K types but does not write them."""
    block_elements, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = random.integers(0, 256, (n_rows * n_columns // block_elements, block_bytes), dtype=np.uint8)
    place, minimum_place, minimum, spread = RANDOM_BLOCKS[kind]
    scale = (deviation / spread * random.uniform(0.7, 1.3, len(blocks))).astype("<f2")
    blocks[:, place : place + 2] = scale.view(np.uint8).reshape(-1, 2)
    if minimum_place is not None:
        minima = (minimum * scale.astype(np.float32)).astype("<f2")
        blocks[:, minimum_place : minimum_place + 2] = minima.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(n_rows, -1)


def make_quantised(fixture, types, root):
    """A .gguf file of quantised weights; the reference is transformers on what gguf-py makes of them."""
    config, folder = fixture.config, root / fixture.name
    with torch.device("meta"):
        bare = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**config))
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "reference").mkdir(parents=True)
    while True:
        random = np.random.default_rng(fixture.seed)
        tokens = random.integers(0, config["vocab_size"], fixture.n_tokens).tolist()
        state, stored = draw_weights(bare, fixture), {}
        for name, tensor in state.items():
            kind = next((kind for ending, kind in types.items() if name.endswith(ending)), None)
            if kind is None:
                stored[name] = tensor.numpy(), None
                continue
            deviation = fixture.embedding_gain if "embed" in name else 1.5 / math.sqrt(tensor.shape[1])
            data = random_blocks(kind, *tensor.shape, deviation, random)
            stored[name] = data, gguf.GGMLQuantizationType[kind]
            state[name] = torch.from_numpy(gguf.quants.dequantize(*stored[name]))
        model = build_model(config, state)
        logits = logits_of(model, tokens)
        rounding = float(np.abs(logits_of(build_model(config, state).double(), tokens) - logits).max())
        greedy, margin = generate_greedily(model, tokens)
        if margin > GREEDY_MARGIN and rounding < ROUNDING:
            break
        fixture.seed += 1
    writer = start_gguf(folder / "model.gguf", fixture.name, config, gguf.LlamaFileType.MOSTLY_Q4_K_M)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, (data, kind) in sorted(stored.items()):
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads is not None:
            data = permute_rows(data, config[heads])
        writer.add_tensor(names.get_name(name, (".weight",)), np.ascontiguousarray(data), raw_dtype=kind)
    finish_gguf(writer)
    write_json(folder / "reference" / "tokens.json", tokens)
    np.save(folder / "reference" / "logits.npy", np.ascontiguousarray(logits), allow_pickle=False)
    write_json(folder / "reference" / "greedy.json", {"tokens": greedy, "margin": float(f"{margin:.4g}")})
    write_bf16(folder / "reference", model, tokens, logits)
    report(folder, f"seed {fixture.seed}, margin {margin:.4f}, rounding {rounding:.1e}")


def check_fixture(made, committed):
    """Everything but the logits and what is derived from them must be the same bytes; logits the same to rounding."""
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    there = sorted(path.relative_to(committed) for path in committed.rglob("*") if path.is_file())
    assert files == there, f"{committed}: holds {there}, expected {files}"
    for file in files:
        if file.name == "logits.npy":
            difference = float(np.abs(np.load(made / file) - np.load(committed / file)).max())
            assert difference < ROUNDING, f"{committed / file}: logits differ by {difference}"
        elif file.name == "greedy.json":
            same = [json.loads((root / file).read_text())["tokens"] for root in (made, committed)]
            assert same[0] == same[1], f"{committed / file}: other tokens are generated"
        elif file.name == "bf16.json":
            made_it, held = (json.loads((root / file).read_text())["distance"] for root in (made, committed))
            assert abs(made_it - held) < 0.1 * held, f"{committed / file}: {held}, now {made_it}"
        elif file.name != "switches.json":
            assert filecmp.cmp(made / file, committed / file, shallow=False), f"{committed / file}: differs"


def report(folder, words):
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < FOLDER_BYTES, f"{folder.name} has {size} bytes"
    print(f"{folder.name}: {size} bytes, {words}", flush=True)


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "models"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="fixtures to make (default: all)")
    parser.add_argument("--out", type=pathlib.Path, default=default, help="folder of fixtures (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="make them elsewhere and compare with those in --out")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    known = {fixture.name: fixture for fixture in fixtures()}
    quantised = quantised_fixture()
    unknown = set(arguments.names) - set(known) - set(GGUF_TWINS) - {quantised.name}
    if unknown:
        parser.error(f"unknown fixtures: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as elsewhere:
        out = pathlib.Path(elsewhere) if arguments.check else arguments.out
        wanted = arguments.names or [*known, *GGUF_TWINS, quantised.name]
        for name in wanted:
            if name == quantised.name:
                make_quantised(quantised, QUANTISED_TYPES, out)
                continue
            source = GGUF_TWINS.get(name, name)
            if source == name or not (out / source).exists():
                make_fixture(known[source], out)
            if source != name:
                make_gguf_twin(name, known[source], out)
        if arguments.check:
            for folder in sorted(out.iterdir()):
                check_fixture(folder, arguments.out / folder.name)
            print("the committed fixtures are the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
