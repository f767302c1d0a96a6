"""A kvfold job under mpirun whose ranks are to be hurt: started, watched, signalled and waited for.

A job is a session of processes of its own, so that its ranks are found, and nobody else's.
"""

import json
import os
import re
import signal
import subprocess
import time

# Leaks of Open MPI's own are not what a sanitizer's build is to report.
MPI_ARGUMENTS = ["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "-x", "ASAN_OPTIONS=detect_leaks=0"]
VERDICT = re.compile(r"kvfold: rank (?P<rank>\d+)(?: on |: on )(?P<host>\S+), device cpu, step (?P<step>\d+)"
                     r"(?: layer (?P<layer>\d+)|, loading \(tensor \d+\)|, starting): (?P<cause>.+)")


def environment():
    """Without what another mpirun left there."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("OMPI_", "PMIX_", "PMI_", "SLURM_", "KVFOLD_FAULT"))}
    kept["OMPI_ALLOW_RUN_AS_ROOT"] = kept["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return kept


class Job:
    def __init__(self, mpirun, program, ranks, arguments, folder, fault=None):
        self.program = os.path.realpath(program)
        self._stderr_path = os.path.join(folder, "stderr.txt")
        fault_words = ["env", f"KVFOLD_FAULT={fault}"] if fault else []
        self.command = [mpirun, "-n", str(ranks), *MPI_ARGUMENTS, *fault_words, program, *map(str, arguments)]
        with open(self._stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=stderr, env=environment(), start_new_session=True)
        self.began = time.monotonic()

    def processes(self):
        """Those of this job that still live, mpirun among them."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    state, _, _, session = file.read().rpartition(")")[2].split()[:4]
            except OSError:
                continue  # it has gone meanwhile
            if int(session) == self.process.pid and state != "Z":
                found.append(int(entry))
        return found

    def rank_pids(self):
        pids = {}
        for pid in self.processes():
            try:
                if os.path.realpath(f"/proc/{pid}/exe") != self.program:
                    continue
                with open(f"/proc/{pid}/environ", "rb") as file:
                    match = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", file.read())
            except OSError:
                continue
            if match:
                pids[int(match.group(1))] = pid
        return pids

    def signal_rank(self, rank, number):
        """False where that rank has gone already."""
        pid = self.rank_pids().get(rank)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, timeout_s):
        """True where all its processes have gone by then; what has not is killed."""
        deadline = time.monotonic() + timeout_s
        try:
            self.process.wait(timeout_s)
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.02)
        except subprocess.TimeoutExpired:
            pass
        self.ended = time.monotonic()
        left = self.processes()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        return not left

    @property
    def code(self):
        return self.process.returncode

    @property
    def stderr(self):
        with open(self._stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    @property
    def sentences(self):
        """Our own sentences; mpirun adds lines of its own."""
        return [line for line in self.stderr.splitlines() if line.startswith("kvfold: ")]

    @property
    def verdict(self):
        """Of our last sentence; None where it is no verdict."""
        return VERDICT.fullmatch(self.sentences[-1]) if self.sentences else None


def count_records(path):
    """Lines that are whole."""
    try:
        with open(path, "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


def read_records(path):
    """{id: what does not depend on the clock}, and the ids in their order. Raises ValueError where a line is no record."""
    records, order = {}, []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                record.pop("timings", None)
                records[record["id"]] = record
                order.append(record["id"])
    return records, order
