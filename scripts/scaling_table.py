#!/usr/bin/env python3
"""Joins the JSON of several `kvfold bench --json` runs, one a number of ranks, into one table.

    scaling_table.py --out PREFIX RUNS.json...      writes PREFIX.json (all runs) and PREFIX.md

Strong scaling: the same text on more ranks, the time of the fewest ranks over N times this one's (of the fewest ranks' worth).
Weak scaling: N times the tokens on N times the ranks; attention grows with the square of the text, so 1 is not to be had there.
"""

import argparse
import json
import pathlib


def load(paths):
    runs = []
    for path in paths:
        content = json.loads(pathlib.Path(path).read_text())
        runs += content["runs"] if "runs" in content else [content]
    settings = {}
    for run in runs:  # a chunk longer than the text is the text: asked for twice, it counts once
        settings.setdefault((run["tokens"], run["chunk"], run["ranks"]), run)
    return [settings[key] for key in sorted(settings)]


def strong(runs, run):
    """Efficiency against the fewest ranks on the same text and chunk."""
    base = min((r for r in runs if (r["tokens"], r["chunk"]) == (run["tokens"], run["chunk"])), key=lambda r: r["ranks"])
    return base["fold_s"] * base["ranks"] / (run["fold_s"] * run["ranks"])


def weak(runs, run):
    """Tokens a second and rank against one rank's on a text shorter by the number of ranks; None where that was not run."""
    for base in runs:
        if base["ranks"] == 1 and base["chunk"] == run["chunk"] and base["tokens"] * run["ranks"] == run["tokens"]:
            return run["tokens_per_s"] / run["ranks"] / base["tokens_per_s"]
    return None


def table(runs):
    head = ["tokens", "chunk", "ranks", "fold s", "tokens/s", "products", "attention", "communication", "strong", "weak"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---:" for _ in head) + " |"]
    for run in runs:
        weakly = weak(runs, run)
        cells = [
            str(run["tokens"]), str(run["chunk"]), str(run["ranks"]), f"{run['fold_s']:.2f}", f"{run['tokens_per_s']:.0f}",
            f"{run['linear']['fraction']:.2f}", f"{run['attention']['fraction']:.2f}", f"{100 * run['comm_share']:.1f} %",
            f"{strong(runs, run):.2f}", "" if weakly is None else f"{weakly:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="prefix of the two files")
    parser.add_argument("runs", nargs="+")
    arguments = parser.parse_args()
    runs = load(arguments.runs)
    pathlib.Path(arguments.out + ".json").write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    text = "Products and attention: share of the best product of the same shapes, measured in the same run.\n\n"
    pathlib.Path(arguments.out + ".md").write_text(text + table(runs) + "\n")


if __name__ == "__main__":
    main()
