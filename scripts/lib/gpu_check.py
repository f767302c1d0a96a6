"""Runs the pieces of scripts/gpu_check.sh and keeps what each step said, as JSON, a file a piece.

A piece's file is written after each of its steps, so that a run that is cut off loses nothing. Exit code: 0 where every step held,
1 where one failed or a tolerance was passed, 2 for a wrong command line.
"""

import argparse
import datetime
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gpu_pieces import REAL, Pieces, rehearsal  # noqa: E402

PIECE_LIMIT_S = 480
KEPT_LINES = 40


def commit_of(root):
    """From git, or from the file that a bundle carries; "+" where the tree differs from it."""
    try:
        run = lambda *a: subprocess.run(["git", "-C", root, *a], capture_output=True, text=True, check=True).stdout.strip()
        return run("rev-parse", "--short=12", "HEAD") + ("+" if run("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        path = os.path.join(root, "COMMIT")
        return open(path).read().strip() if os.path.exists(path) else "unknown"


def machine(kvfold):
    """What every piece's file says of the machine: its GPUs and driver, and the libraries that kvfold finds."""
    def said(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""
    try:
        nccl = json.loads(said(kvfold, "info", "--json")).get("nccl")
    except ValueError:
        nccl = None
    gpus = said("nvidia-smi", "--query-gpu=name,uuid,driver_version,memory.total", "--format=csv,noheader")
    return {"nvidia_smi": gpus.splitlines(), "nccl": nccl}


def lacks(need):
    """Why a step cannot run here, or an empty string. `need`: a program, or python3:MODULE."""
    program, _, module = need.partition(":")
    if program and shutil.which(program) is None:
        return f"no {program} here"
    if module and importlib.util.find_spec(module) is None:
        return f"no Python module {module} here"
    return ""


def difference(got_path, want_path, measure):
    import array
    import math

    def read(path):
        with open(path, "rb") as file:
            data = file.read()
        header = 10 + int.from_bytes(data[8:10], "little")
        values = array.array("f")
        values.frombytes(data[header:])
        return values
    got, want = read(got_path), read(want_path)
    if len(got) != len(want):
        raise ValueError(f"{len(got)} logits, expected {len(want)}")
    if measure == "relative":
        off = math.sqrt(sum((g - w) ** 2 for g, w in zip(got, want)) / sum(w * w for w in want))
    else:
        off = max((abs(g - w) for g, w in zip(got, want)), key=lambda d: math.inf if math.isnan(d) else d)
    return math.inf if math.isnan(off) else off


def run_step(step, mpirun, limit_s):
    record = {"name": step.name, "command": shlex.join([os.path.basename(step.command[0]), *step.command[1:]])}
    reason = lacks(step.needs)
    if reason:
        return {**record, "left_out": reason}
    command = (mpirun + ["-n", str(step.ranks)] if step.ranks else []) + step.command
    if step.ranks:
        record["ranks"] = step.ranks
    begin = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        said = "".join(data.decode(errors="replace") for data in (error.stdout, error.stderr) if data)
        return {**record, "failed": f"still running after {limit_s:.0f} s", "output": said.splitlines()[-KEPT_LINES:]}
    except OSError as error:
        return {**record, "failed": str(error)}
    record["seconds"] = round(time.monotonic() - begin, 3)
    tail = (done.stdout + done.stderr).splitlines()[-KEPT_LINES:]
    if done.returncode == 2 and step.unable and step.unable in done.stderr:
        return {**record, "left_out": next(line for line in done.stderr.splitlines() if step.unable in line)}
    if done.returncode != 0:
        return {**record, "failed": f"exit code {done.returncode}", "output": tail}
    if step.parse == "tests" and not re.search(r"^\[  PASSED  \] [1-9]", done.stdout, re.MULTILINE):
        return {**record, "failed": "no test ran", "output": tail}
    if step.parse in ("text", "tests"):
        return {**record, "output": tail}
    try:
        record["result"] = json.loads(done.stdout)
        if step.parse == "score":
            record["measure"] = step.measure
            record["difference"] = difference(step.logits, step.reference, step.measure)
            record["tolerance"] = step.tolerance
            if not record["difference"] <= step.tolerance:
                record["failed"] = f"logits differ by {record['difference']:.3g} ({step.measure}), {step.tolerance:g} is allowed"
    except (ValueError, OSError) as error:
        record["failed"] = str(error)
        record["output"] = tail
    return record


def run_piece(name, steps, arguments, mpirun, head):
    path = os.path.join(arguments.out, name + ".json")
    piece = {**head, "piece": name, "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "steps": []}
    begin = time.monotonic()
    for step in steps:
        left_s = PIECE_LIMIT_S - (time.monotonic() - begin)
        if left_s < 5:
            record = {"name": step.name, "failed": f"not begun: the piece's {PIECE_LIMIT_S} s were over"}
        else:
            record = run_step(step, mpirun, min(step.limit_s, left_s))
        verdict = record.get("failed") or record.get("left_out") or "held"
        print(f"gpu_check: {name}: {step.name}: {verdict} ({record.get('seconds', 0):.1f} s)", file=sys.stderr, flush=True)
        for line in record.get("output", [])[-8:] if "failed" in record else []:
            print("    " + line, file=sys.stderr)
        piece["steps"].append(record)
        with open(path + ".part", "w") as file:
            json.dump(piece, file, indent=1)
            file.write("\n")
        os.replace(path + ".part", path)
    return not any("failed" in record for record in piece["steps"])


def main():
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--local-mpirun", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--kvfold", help="the executable (default: build/release/launcher/kvfold)")
    parser.add_argument("--tests", help="the folder of test programs (default: build/release/tests)")
    parser.add_argument("--mpirun", help="how several ranks are started on this machine")
    parser.add_argument("--out", help="where raw JSON goes (default: docs/results/gpu)")
    parser.add_argument("--list", action="store_true", help="print the pieces' commands and run nothing")
    parser.add_argument("--rehearse", action="store_true", help="every step on the CPU with tiny shapes")
    parser.add_argument("pieces", nargs="*", metavar="PIECE")
    arguments = parser.parse_args()
    root = arguments.root
    arguments.kvfold = os.path.abspath(arguments.kvfold or os.path.join(root, "build/release/launcher/kvfold"))
    arguments.tests = os.path.abspath(arguments.tests or os.path.join(root, "build/release/tests"))
    if arguments.out is None:
        if arguments.rehearse:
            parser.error("--rehearse wants --out: its figures do not belong into docs/results")
        arguments.out = os.path.join(root, "docs/results/gpu")
    mpirun = shlex.split(arguments.mpirun or arguments.local_mpirun)

    with tempfile.TemporaryDirectory() as work:
        pieces = Pieces(root, arguments.kvfold, arguments.tests, work, rehearsal(root) if arguments.rehearse else REAL).all()
        unknown = [name for name in arguments.pieces if name not in pieces]
        if unknown:
            parser.error(f"no piece {unknown[0]!r}; the pieces are {', '.join(pieces)}")
        wanted = arguments.pieces or list(pieces)
        if arguments.list:
            for name in wanted:
                for step in pieces[name]():
                    start = mpirun + ["-n", str(step.ranks)] if step.ranks else []
                    print(f"{name}: {shlex.join(start + step.command)}")
            return 0
        if not os.access(arguments.kvfold, os.X_OK):
            parser.error(f"no executable {arguments.kvfold}: build it first, or name it with --kvfold")
        os.makedirs(arguments.out, exist_ok=True)
        head = {"commit": commit_of(root), "rehearsal": arguments.rehearse, **machine(arguments.kvfold)}
        held = [run_piece(name, pieces[name](), arguments, mpirun, head) for name in wanted]
    print(f"gpu_check: {sum(held)} of {len(held)} pieces held", file=sys.stderr)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
