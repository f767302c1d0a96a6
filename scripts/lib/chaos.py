"""Rounds of scripts/chaos.sh: a batch job, a rank hurt at a random moment, the job started again until it is done.

A round holds where every process was gone in time, the exit code was not 0, our own last line named the rank that was hurt, and the
records at the end are those of an undisturbed run, each once. Hurt from outside, time counts from the signal; by a fault within
(KVFOLD_FAULT, launcher/ranks/fault.h) from the job's start, which is more than from the fault.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chaos_job import Job, count_records, read_records  # noqa: E402

REQUESTS = 12
GONE_S = 10.0
STEP_TIMEOUT_S = 2
# From outside by a signal, or by a fault within, at a step or while loading.
FAULTS = ["SIGKILL", "SIGSTOP", "killed in a step", "stopped in a step", "stuck in a step", "exception in a step",
          "out of memory in a step", "killed while loading", "out of memory while loading"]
HOOKS = {"killed": "kill", "stopped": "stop", "stuck": "sleep", "exception": "throw", "out of memory": "alloc"}


def gone_within(fault):
    return GONE_S + (STEP_TIMEOUT_S if fault.startswith("stuck") else 0)


class Chaos:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.random = random.Random(arguments.seed)
        with open(os.path.join(arguments.model, "reference", "tokens.json")) as file:
            tokens = json.load(file)
        with open(os.path.join(arguments.model, "config.json")) as file:
            self.layers = json.load(file)["num_hidden_layers"]
        self.prompts = os.path.join(folder, "in.jsonl")
        with open(self.prompts, "w") as file:
            for i in range(REQUESTS):
                json.dump({"id": f"r{i}", "tokens": tokens[i:i + 40 + 3 * i], "max_new_tokens": 4 + i % 5}, file)
                file.write("\n")

    def start(self, ranks, output, fault=None):
        return Job(shutil.which("mpirun"), self.arguments.kvfold, ranks,
                   ["run", "--model", self.arguments.model, "--dtype", "f32", "--chunk", 16, "--threads", 1, "--concurrency", 2,
                    "--step-timeout", STEP_TIMEOUT_S, "--prompts", self.prompts, "--output", output], self.folder, fault)

    def undisturbed(self, ranks):
        output = os.path.join(self.folder, f"want{ranks}.jsonl")
        job = self.start(ranks, output)
        if not job.wait(120) or job.code != 0:
            raise SystemExit(f"chaos.sh: the undisturbed run on {ranks} ranks failed:\n{job.stderr}")
        return read_records(output)[0]

    def hurt(self, fault, ranks, rank, output):
        """The job, and when it was hurt; None where it ended before."""
        if not fault.startswith("SIG"):
            kind = next(hook for word, hook in HOOKS.items() if fault.startswith(word))
            place = (f"tensor={self.random.randint(1, 4 * self.layers)}" if fault.endswith("loading")
                     else f"step={self.random.randint(1, 30)},layer={self.random.randrange(self.layers)}")
            job = self.start(ranks, output, f"rank={rank},{place},do={kind}")
            return job, job.began
        # Every layer of one rank takes 0.2 s, so that the job lasts for the signal to come.
        job = self.start(ranks, output, f"rank={self.random.randrange(ranks)},step={self.random.randint(1, 30)},layer=0,do=slow")
        deadline = time.monotonic() + 60
        while len(job.rank_pids()) < ranks and time.monotonic() < deadline and job.process.poll() is None:
            time.sleep(0.01)
        # Once a record is there, so that there is something to lose.
        while count_records(output) == 0 and time.monotonic() < deadline and job.process.poll() is None:
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, 2.5))
        number = getattr(signal, fault)
        return job, time.monotonic() if job.signal_rank(rank, number) else None

    def round(self, number, wanted):
        ranks = self.random.choice(sorted(wanted))
        fault = self.random.choice(FAULTS)
        rank = self.random.randrange(ranks)
        output = os.path.join(self.folder, f"out{number}.jsonl")
        job, hurt = self.hurt(fault, ranks, rank, output)
        in_time = job.wait(60)
        record = {"round": number, "fault": fault, "ranks": ranks, "rank": rank, "command_fault": [word for word in job.command if word.startswith("KVFOLD_FAULT=")], "exit": job.code,
                  "records": count_records(output), "missed": hurt is None, "hung": not in_time}
        if hurt is not None:
            record["gone_s"] = round(job.ended - hurt, 3)
            record["late"] = record["gone_s"] > gone_within(fault)
            verdict = job.verdict
            record["named"] = verdict is not None and int(verdict["rank"]) == rank
            record["sentence"] = job.sentences[-1] if job.sentences else ""
        starts = 0
        while starts < 5:
            starts += 1
            again = self.start(ranks, output)
            record["hung"] |= not again.wait(120)
            if again.code == 0:
                break
        record["further_starts"] = starts
        try:
            records, order = read_records(output)
            record["doubled"] = len(order) - len(set(order))
            record["lost"] = sum(records.get(id) != want for id, want in wanted[ranks].items())
        except ValueError as error:
            record.update(doubled=0, lost=REQUESTS, broken=str(error))
        os.remove(output)
        return record

    def run(self):
        wanted = {ranks: self.undisturbed(ranks) for ranks in map(int, self.arguments.ranks.split())}
        rounds = []
        for number in range(1, self.arguments.rounds + 1):
            rounds.append(self.round(number, wanted))
            r = rounds[-1]
            print(f"chaos.sh: {number}: {r['fault']}, rank {r['rank']} of {r['ranks']}: gone after {r.get('gone_s')} s, lost {r['lost']}, "
                  f"doubled {r['doubled']}: {r.get('sentence')}", file=sys.stderr, flush=True)
        return rounds


def table(rounds):
    groups = collections.defaultdict(list)
    for r in rounds:
        groups[r["fault"], r["ranks"]].append(r)
    lines = ["| fault | ranks | rounds | ended before it | records lost | doubled | hung | later than promised | rank named | worst end |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for fault, ranks in sorted(groups, key=lambda key: (FAULTS.index(key[0]), key[1])):
        group = groups[fault, ranks]
        hurt = [r for r in group if not r["missed"]]
        worst = max((r["gone_s"] for r in hurt), default=0.0)
        lines.append(f"| {fault} | {ranks} | {len(group)} | {len(group) - len(hurt)} | {sum(r['lost'] for r in group)} | "
                     f"{sum(r['doubled'] for r in group)} | {sum(r['hung'] for r in group)} | {sum(r['late'] for r in hurt)} | "
                     f"{sum(r['named'] for r in hurt)} of {len(hurt)} | {worst:.1f} s |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="chaos.sh")
    for name in ("--kvfold", "--model", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ranks", default="2 3 4")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = Chaos(arguments, folder).run()
    head = {"rounds": arguments.rounds, "seed": arguments.seed, "requests": REQUESTS, "promised_s": GONE_S, "step_timeout_s": STEP_TIMEOUT_S}
    with open(arguments.out + ".json", "w") as file:
        json.dump({**head, "log": rounds}, file, indent=1)
        file.write("\n")
    bad = sum(r["lost"] + r["doubled"] + r["hung"] for r in rounds)
    with open(arguments.out + ".md", "w") as file:
        file.write(f"# Ranks that are hurt\n\n`scripts/chaos.sh --rounds {arguments.rounds} --seed {arguments.seed}`: batch jobs of {REQUESTS} "
                   "requests on a tiny model; one rank is hurt at a random\nmoment, the job is started again, and its records are held against an "
                   "undisturbed run's (but for timings and order).\nPromised: every process gone within "
                   f"{GONE_S:g} s (stuck: --step-timeout, {STEP_TIMEOUT_S} s here, and {GONE_S:g} s). By a signal from outside, time\ncounts from the signal; "
                   "by a fault within, from the job's start.\n\n" + table(rounds) + "\n\nRaw: [chaos.json](chaos.json).\n")
    print(f"chaos.sh: wrote {arguments.out}.md", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
