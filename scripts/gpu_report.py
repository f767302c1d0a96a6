#!/usr/bin/env python3
"""Makes docs/results/gpu.md of the raw JSON that scripts/gpu_check.sh wrote. Nothing stands there that was not measured.

    gpu_report.py [--raw docs/results/gpu] [--out docs/results/gpu.md] [--check]

--check writes nothing and exits 1 where the page is not what the raw files say.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GIB = 2.0 ** 30

# Of the 8B shape in bf16, 128K tokens: seconds by chunk; bytes besides the CUDA context.
AIMS_FOLD_S = {256: 30.0, 1024: 25.0}
AIM_BYTES = {"bf16": 33.5e9, "int8": 25e9}
AIM_SHARE_BYTES = 40e9


def load(folder):
    pieces = {}
    for path in sorted(folder.glob("*.json")):
        piece = json.loads(path.read_text())
        if piece.get("rehearsal"):
            raise SystemExit(f"gpu_report.py: {path} is of a rehearsal, whose figures belong nowhere")
        pieces[piece["piece"]] = piece
    return pieces


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(head) - 1)) + " |"]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def steps_of(pieces, name):
    return pieces[name]["steps"] if name in pieces else []


def runs_of(step):
    result = step.get("result", {})
    return result.get("runs", [result] if result else [])


def state(step):
    if "failed" in step:
        return "**failed**: " + step["failed"]
    return "left out: " + step["left_out"] if "left_out" in step else "held"


def correctness(pieces):
    lines = []
    for name, title in (("conformance", "Conformance"), ("sanitizer", "Under compute-sanitizer")):
        for step in steps_of(pieces, name):
            said = [line for line in step.get("output", []) if "PASSED" in line or "ERROR SUMMARY" in line or "SKIPPED" in line]
            lines.append(f"- {title}, {step['name']}: {state(step)}" + (f" ({said[-1].strip()})" if said else "") + ".")
    rows = [(step["name"], step.get("measure", ""), f"{step['difference']:.2g}" if "difference" in step else "",
             f"{step['tolerance']:g}" if "tolerance" in step else "", state(step))
            for name in ("exact", "ranks") for step in steps_of(pieces, name)]
    if rows:
        lines += ["", "Logits against transformers' (float32, eager): the largest difference of one, or for bf16 the relative one of all,",
                  "which may be what transformers' own bf16 pass has.", ""]
        lines += table(["fixture and mode", "measure", "difference", "allowed", "state"], rows)
    return lines


def rate(measured):
    """TFLOP/s, and their share of the best product of the same run."""
    return f"{measured['gflops'] / 1e3:.0f} ({measured['fraction']:.2f})"


def fold_rows(pieces, names):
    rows = []
    for name in names:
        for step in steps_of(pieces, name):
            if "result" not in step:
                rows.append((f"{name}: {step['name']}", state(step)) + ("",) * (len(FOLD_HEAD) - 2))
            for run in runs_of(step):
                aim = AIMS_FOLD_S.get(run["chunk"]) if (run["tokens"], step["name"], run.get("pretended")) == (131072, "bf16", False) else None
                decode = run.get("decode_tokens_per_s")
                peaks = run.get("device_peak_bytes") or run["peak_bytes"]
                reserved = run.get("device_reserved_bytes") or [0] * len(peaks)
                rows.append((step["name"], run["tokens"], run["chunk"], f"{run['fold_s']:.2f}", "" if aim is None else f"{aim:.0f}",
                             f"{run['tokens_per_s']:.0f}", rate(run["linear"]), rate(run["attention"]),
                             f"{run['linear']['ceiling_gflops'] / 1e3:.0f}",
                             f"{1e3 / decode:.2f} ({run['decode']['fraction']:.2f})" if decode else "",
                             f"{max(peaks) / 1e9:.1f}", f"{max(p - r for p, r in zip(peaks, reserved)) / 1e9:.1f}"))
    return rows


FOLD_HEAD = ["cache", "tokens", "chunk", "fold s", "aim s", "tokens/s", "projections TFLOP/s", "attention TFLOP/s", "ceiling TFLOP/s",
             "decode ms/token (of a copy)", "peak GB", "besides the context GB"]


def baselines(pieces):
    lines = []
    ours = {(run["tokens"], run["chunk"]): run for step in steps_of(pieces, "bench_8b_128k") for run in runs_of(step)}
    rows = []
    for step in steps_of(pieces, "baseline_hf"):
        result = step.get("result")
        if result is None:
            rows.append((step["name"], state(step), "", "", "", ""))
            continue
        mine = ours.get((result["tokens"], result["chunk"]))
        rows.append((result["tokens"], result["chunk"], f"{result['fold_s']:.1f}", f"{mine['fold_s']:.1f}" if mine else "",
                     f"{result['fold_s'] / mine['fold_s']:.2f}" if mine else "",
                     f"{result['peak_bytes'] / 1e9:.1f}" if result["peak_bytes"] else ""))
    if rows:
        lines += ["", "The paper's loop in transformers (`scripts/baselines/hf_fold.py`), same shape, tokens, chunk and GPU:", ""]
        lines += table(["tokens", "chunk", "transformers s", "kvfold s", "times faster", "transformers' peak GB"], rows)
    rows = [(run["tokens"], run["chunk"], run["backend"], f"{run['tflops']:.0f}" if "tflops" in run else run["refused"])
            for step in steps_of(pieces, "baseline_sdpa") for run in runs_of(step)]
    if rows:
        lines += ["", "PyTorch's attention on the same shapes (`scripts/baselines/sdpa.py`):", ""]
        lines += table(["tokens", "chunk", "backend", "TFLOP/s"], rows)
    return lines


def page(pieces):
    lines = ["# On a GPU", "",
             "Made by `scripts/gpu_report.py` of the raw JSON in [`gpu/`](gpu/), which `scripts/gpu_check.sh`",
             "wrote; the commands stand there.", ""]
    if not pieces:
        return lines + ["Nothing has been measured yet: every figure here is still owed.", ""]
    owed = [name for name in ("machine", "conformance", "sanitizer", "exact", "ranks", "bench_8b", "bench_8b_128k", "bench_8b_128k_int8",
                              "share_70b", "baseline_sdpa", "baseline_hf") if name not in pieces]
    if owed:
        lines += [f"Still owed: {', '.join(owed)}.", ""]
    for step in steps_of(pieces, "machine"):
        lines += [f"- {line}" for line in step.get("output", [])]
        if "result" in step:
            lines.append(f"- `{json.dumps(step['result'])}`")
    lines += ["- commits: " + ", ".join(sorted({piece["commit"] for piece in pieces.values()})) + "; "
              + ", ".join(sorted({piece["date"][:10] for piece in pieces.values()})), ""]
    right = correctness(pieces)
    if right:
        lines += ["## Correct", "", *right, ""]
    rows = fold_rows(pieces, ["bench_8b", "bench_8b_128k", "bench_8b_128k_int8"])
    if rows:
        lines += ["## Llama-3.1-8B's shape, one rank", "",
                  f"Aims at 128K tokens: {AIM_BYTES['bf16'] / 1e9:g} GB at most besides the CUDA context (int8: {AIM_BYTES['int8'] / 1e9:g}).", ""]
        lines += table(FOLD_HEAD, rows) + [""]
    rows = fold_rows(pieces, ["share_70b"])
    if rows:
        lines += ["## One rank's share of Llama-3.1-70B on 8", "",
                  f"Communication is left out; {AIM_SHARE_BYTES / 1e9:g} GB is what the rank has.", ""]
        lines += table(FOLD_HEAD, rows) + [""]
    others = baselines(pieces)
    if others:
        lines += ["## Beside others", *others, ""]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=pathlib.Path, default=ROOT / "docs/results/gpu")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/results/gpu.md")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = "\n".join(page(load(arguments.raw)))
    if not arguments.check:
        arguments.out.write_text(text)
        return 0
    if not arguments.out.exists() or arguments.out.read_text() != text:
        print(f"gpu_report.py: {arguments.out} is not what {arguments.raw} says: run scripts/gpu_report.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
