"""What --output and --logits may be, and what is left of it: inputs, other files, pipes, closed and full streams, poor file systems."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

from byte_model import byte_model
from launcher_case import KVFOLD, LLAMA, MPI_ARGUMENTS, MPIRUN, LauncherCase, environment, kvfold, main, read_json, read_npy, start

TOKENS = read_json(LLAMA, "reference", "tokens.json")
REFUSING_CALLS = os.environ.get("KVFOLD_REFUSING_CALLS")
IDS = [f"r{i}" for i in range(3)]


class Output(LauncherCase):
    def setUp(self):
        super().setUp()
        self.output = self.path("out.jsonl")
        self.prompts = self.write_lines("in.jsonl", [
            {"id": name, "tokens": TOKENS[:20 + i], "max_new_tokens": 4} for i, name in enumerate(IDS)])

    def arguments(self, output=None, prompts=None, model=LLAMA):
        return ["run", "--model", model, "--dtype", "f32", "--threads", "1", "--prompts", prompts or self.prompts, "--output",
                output or self.output]

    def score_arguments(self, logits, tokens=None):
        return ["score", "--model", LLAMA, "--dtype", "f32", "--threads", "1", "--tokens",
                tokens or self.write("tokens.json", json.dumps(TOKENS[:8])), "--logits", logits]

    def shell(self, script, *arguments, timeout_s=60):
        """`"$@"` is kvfold and these arguments."""
        return start(["bash", "-c", script, "bash", KVFOLD, *map(str, arguments)], timeout_s=timeout_s, cwd=self.folder)

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def ids(self, text):
        return [json.loads(line)["id"] for line in text.splitlines()]

    def many_prompts(self):
        """Records of more bytes than any pipe holds."""
        return self.write_lines("many.jsonl", [{"id": "x" * 300 + str(i), "tokens": TOKENS[:4], "max_new_tokens": 1}
                                               for i in range(400)])

    def spawn(self, arguments, ranks=None, **options):
        mpi = [] if ranks is None else [MPIRUN, "-n", str(ranks), *MPI_ARGUMENTS]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([*mpi, KVFOLD, *map(str, arguments)], text=True, env=environment(),
                                   start_new_session=True, **options)
        self.addCleanup(self.end, process)
        return process

    def wait_until(self, reached, process):
        """The process must not end before it."""
        deadline = time.monotonic() + 40
        while not reached():
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def wait_until_caught(self, process, number, ranks):
        """Until each rank catches the signal: before that it ends whom it hits."""
        def caught():
            bit = 1 << (number - 1)
            n_catching = 0
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    command = self.bytes_of(f"/proc/{pid}/cmdline").split(b"\0")
                    status = self.bytes_of(f"/proc/{pid}/status").decode()
                except OSError:  # it has ended
                    continue
                if command[0] == KVFOLD.encode() and self.folder.encode() in b" ".join(command):
                    n_catching += bool(int(re.search(r"^SigCgt:\s*(\w+)$", status, re.M)[1], 16) & bit)
            return n_catching == (ranks or 1)

        self.wait_until(caught, process)

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


class Inputs(Output):
    def assert_left_alone(self, arguments, path, *words, ranks=None):
        before = self.bytes_of(path)
        self.assert_refused(kvfold(*arguments, ranks=ranks), *words)
        self.assertEqual(self.bytes_of(path), before)

    def test_output_that_is_an_input(self):
        one_line = self.write("one.jsonl", json.dumps({"id": "a", "tokens": [1, 2]}))
        for ranks in (None, 2):
            self.assert_left_alone(self.arguments(one_line, one_line), one_line, "read by --prompts", ranks=ranks)
        os.symlink("in.jsonl", self.path("symbolic"))
        os.link(self.prompts, self.path("hard"))
        for name in ("symbolic", "hard"):
            for output, prompts in ((self.path(name), self.prompts), (self.prompts, self.path(name))):
                self.assert_left_alone(self.arguments(output, prompts), self.prompts, "read by --prompts")
        before = self.bytes_of(self.prompts)
        for redirection, output, prompts in [(f"< {self.prompts}", self.prompts, "/dev/stdin"),
                                             (f"3< {self.prompts}", self.prompts, "/proc/self/fd/3"),
                                             (f">> {self.prompts}", "-", self.prompts)]:
            self.assert_refused(self.shell(f'"$@" {redirection}', *self.arguments(output, prompts)), "read by --prompts")
            self.assertEqual(self.bytes_of(self.prompts), before)

    def test_prompts_that_are_not_there_are_not_made(self):
        missing = self.path("missing.jsonl")
        self.assert_refused(kvfold(*self.arguments(missing, missing)), "cannot read", missing)
        self.assertFalse(os.path.exists(missing))

    def test_output_that_is_a_document(self):
        self.assert_done(kvfold(*self.arguments()))
        prompts = self.write_lines("more.jsonl", [{"id": "a", "document": self.output, "prompt": "?"}])
        model = byte_model(self.folder)
        self.assert_left_alone(self.arguments(prompts=prompts, model=model), self.output, "document")

    def test_output_that_is_a_file_of_the_model(self):
        shutil.copytree(LLAMA, self.path("model"))
        for name in ("config.json", "model.safetensors"):
            path = os.path.join(self.path("model"), name)
            self.assert_left_alone(self.arguments(path, model=self.path("model")), path, path)
            self.assert_left_alone(self.score_arguments(path), path, path)
        gguf = self.path("model.gguf")
        shutil.copy(LLAMA + "_gguf/model.gguf", gguf)
        self.assert_left_alone(self.arguments(gguf, model=gguf), gguf, "read by --model")

    def test_output_that_is_no_result_file(self):
        self.assert_done(kvfold(*self.arguments()))
        records = self.bytes_of(self.output)
        other = self.path("other")
        for contents in (b"three years of work", b'{"thesis": "three years of work"}', b'{"id":"a","prompt":"b"}',
                         b"\x7fELF\x02\x01\x01\x00" + bytes(100), bytes(1 << 20), b'{"id": "a", "key": "b", "value": 1}\n',
                         records + b"and a note", records + b'{"id":"a","key":"b","value":1', b"{\n"):
            for ranks in (None, 2) if contents.startswith(b"three") else (None,):
                with open(other, "wb") as file:
                    file.write(contents)
                self.assert_left_alone(self.arguments(other), other, other, "not a record", ranks=ranks)

    def test_logits_over_another_file(self):
        tokens = self.write("tokens.json", json.dumps(TOKENS[:8]))
        for ranks in (None, 2):
            self.assert_left_alone(self.score_arguments(tokens, tokens), tokens, "--logits", "read by --tokens", ranks=ranks)
        text = self.write("text.txt", "some words")
        model = byte_model(self.folder)
        self.assert_left_alone(["score", "--model", model, "--text", text, "--logits", text], text, "read by --text")
        for contents in ("a letter", "[1, 2]", "\0" * 100):
            other = self.write("other", contents)
            self.assert_left_alone(self.score_arguments(other), other, other, "name another file")
        self.assertFalse([name for name in os.listdir(self.folder) if name.endswith(".partial")])

    def test_logits_replace_earlier_ones(self):
        logits = self.path("logits.npy")
        os.symlink("logits.npy", self.path("link.npy"))
        for name in ("logits.npy", "logits.npy", "link.npy"):
            self.assertEqual(kvfold(*self.score_arguments(self.path(name))).code, 0)
            self.assertEqual(read_npy(logits)[:2], (8, 256))
        self.assertTrue(os.path.islink(self.path("link.npy")))

    def test_two_uses_of_one_file(self):
        for ranks in (None, 2):
            mpi = "" if ranks is None else f"{MPIRUN} -n {ranks} {' '.join(MPI_ARGUMENTS)} "
            for output in ("-", "/dev/stdout"):
                result = self.shell(f'{mpi}"$@" --json', *self.arguments(output))
                self.assert_refused(result, "standard output, where --json prints")
        result = self.shell('"$@" --json > out.jsonl', *self.arguments())
        self.assert_refused(result, "standard output, where --json prints")
        self.shell('"$@" 2> out.jsonl', *self.arguments())
        self.assertIn(b"standard error, where the log goes", self.bytes_of(self.output))
        for logits in ("-", "/dev/stdout"):
            self.assert_refused(kvfold(*self.score_arguments(logits)), "standard output, where score prints")
        self.assertFalse(os.path.exists(self.path("-")))
        result = self.shell('"$@" > both 2>&1', *self.arguments("-"))  # as a scheduler sends them
        self.assertEqual(result.code, 0, str(result))
        records = [line for line in self.bytes_of(self.path("both")).splitlines() if line.startswith(b"{")]
        self.assertEqual([json.loads(record)["id"] for record in records], IDS)


class Touched(Output):
    def test_results_that_went_through_an_editor(self):
        want = [json.loads(line)["id"] for line in self.bytes_of(self.prompts).splitlines()]
        self.assert_done(kvfold(*self.arguments()))
        first, second, third = self.bytes_of(self.output).splitlines(keepends=True)
        for edited in (first.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + first + second, first + b"\n\r\n" + second + b" \n",
                       first + second[:-1], first + second[:40], first + second + third[:-1] + bytes(3000)):
            with self.subTest(edited=edited):
                with open(self.output, "wb") as file:
                    file.write(edited)
                self.assert_done(kvfold(*self.arguments()))
                lines = [line for line in self.bytes_of(self.output).decode("utf-8-sig").split("\n") if line.strip()]
                self.assertEqual([json.loads(line)["id"] for line in lines], want)


class Streams(Output):
    def test_dash_is_standard_output(self):
        for ranks in (None, 2):
            result = kvfold(*self.arguments("-"), ranks=ranks, cwd=self.folder)
            self.assert_done(result)
            self.assertEqual(self.ids(result.stdout), IDS)
        result = self.shell('"$@" > kept', *self.arguments("-"))
        self.assert_done(result)
        self.assertEqual(self.ids(self.bytes_of(self.path("kept"))), IDS)
        self.assertFalse(os.path.exists(self.path("-")))

    def test_standard_output_by_another_name(self):
        for output in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            result = kvfold(*self.arguments(output))
            self.assert_done(result)
            self.assertEqual(self.ids(result.stdout), IDS)
        # Into a file the job goes on, as under the file's own name.
        for _ in range(2):
            self.assert_done(self.shell('"$@" >> out.jsonl', *self.arguments("/dev/stdout")))
            self.assertEqual(self.ids(self.bytes_of(self.output)), IDS)

    def test_reader_that_goes(self):
        many = self.many_prompts()
        for output in ("/dev/stdout", "-"):
            result = self.shell('"$@" | head -n 1; echo "exit ${PIPESTATUS[0]}"', *self.arguments(output, many))
            self.assertEqual(result.stdout.splitlines()[-1], "exit 1", str(result))
            self.assertEqual(len(result.sentences), 1, str(result))
            self.assertIn("Broken pipe", result.sentences[0])
        result = self.shell('"$@" --output >(head -n 1 > one); echo "exit $?"', *self.arguments(prompts=many)[:-2])
        self.assertEqual(result.stdout, "exit 1\n", str(result))
        self.assertIn("Broken pipe", result.sentences[0])
        for ranks in (None, 2):
            fifo = self.path(f"fifo{ranks}")
            os.mkfifo(fifo)
            with subprocess.Popen(["head", "-n", "1", fifo], stdout=subprocess.DEVNULL):
                self.assert_refused(kvfold(*self.arguments(fifo, many), ranks=ranks), fifo, "Broken pipe", code=1)

    def test_reader_that_has_gone_before(self):
        result = self.shell('(sleep 0.3; "$@"; echo "exit $?" >&2) | true; sleep 1', *self.arguments("/dev/stdout"))
        self.assertIn("exit 1", result.stderr)
        self.assertIn("Broken pipe", result.stderr)

    def test_logits_into_a_pipe(self):
        result = self.shell('"$@" >(cat > got.npy; touch done); until [ -e done ]; do sleep 0.05; done',
                            *self.score_arguments("x")[:-1])
        self.assert_done(result)
        self.assertEqual(read_npy(self.path("got.npy"))[:2], (8, 256))
        long = self.write("long.json", json.dumps(TOKENS))
        result = self.shell('"$@" >(head -c 100 > /dev/null); echo "exit $?"', *self.score_arguments("x", long)[:-1])
        self.assertEqual(result.stdout, "exit 1\n", str(result))
        self.assertIn("Broken pipe", result.sentences[0])
        self.assert_done(kvfold(*self.score_arguments("/dev/null")))
        self.assertTrue(os.path.exists("/dev/null") and not os.path.isfile("/dev/null"))

    def wait_until_blocked(self, process, pipe):
        """Until nothing more is written to the pipe; what is in it is not read."""
        deadline = time.monotonic() + 40
        seen = []
        while len(seen) < 3 or seen[-3:] != [max(seen[-1], 10000)] * 3:
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), deadline, seen)
            seen.append(int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder))
            time.sleep(0.3)

    def test_signals_end_what_waits_for_a_pipe(self):
        many = self.many_prompts()
        for ranks in (None, 2):
            stop = signal.SIGTERM if ranks is None else signal.SIGUSR1
            with self.subTest("full", ranks=ranks):
                fifo = self.path(f"full{ranks}")
                os.mkfifo(fifo)
                reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
                process = self.spawn(self.arguments(fifo, many), ranks)
                self.wait_until_blocked(process, reader)
                process.send_signal(stop)
                _, stderr = process.communicate(timeout=20)
                os.close(reader)
                self.assertEqual(process.returncode, 4, stderr)
                self.assertIn(f"kvfold: stopped by {stop.name}", stderr)
            with self.subTest("no reader", ranks=ranks):
                fifo = self.path(f"unread{ranks}")
                os.mkfifo(fifo)
                process = self.spawn(self.arguments(fifo), ranks)
                self.wait_until_caught(process, stop, ranks)
                time.sleep(0.5)
                self.assertIsNone(process.poll())
                process.send_signal(stop)
                _, stderr = process.communicate(timeout=20)
                self.assertEqual(process.returncode, 4, stderr)
        fifo = self.path("unread.npy")
        os.mkfifo(fifo)
        process = self.spawn(self.score_arguments(fifo))
        self.wait_until_caught(process, signal.SIGTERM, None)
        time.sleep(0.5)
        process.terminate()
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 4)

    def test_answer_whose_reader_goes(self):
        model = byte_model(self.folder, ends=False)
        begin = time.monotonic()
        result = self.shell('"$@" | head -c 1 > /dev/null; echo "exit ${PIPESTATUS[0]}"', "run", "--model", model, "--prompt", "Hello",
                            "--dtype", "f32", "--max-new-tokens", 200000)
        self.assertEqual(result.stdout, "exit 1\n", str(result))
        self.assertEqual(len(result.sentences), 1, str(result))
        self.assertIn("standard output", result.sentences[0])
        self.assertLess(time.monotonic() - begin, 20)


class Inherited(Output):
    def test_closed_standard_streams(self):
        for closed in ("2>&-", ">&-", "<&-", "<&- >&-", "<&- >&- 2>&-"):
            for mpi in ("", f"{MPIRUN} -n 2 {' '.join(MPI_ARGUMENTS)} bash -c '\"$@\" {closed}' bash "):
                with self.subTest(closed=closed, mpi=bool(mpi)):
                    if os.path.exists(self.output):
                        os.remove(self.output)
                    result = self.shell(f'{mpi}"$@" {"" if mpi else closed}; exit $?', *self.arguments())
                    self.assertEqual(result.code, 0, str(result))
                    self.assertEqual(self.ids(self.bytes_of(self.output)), IDS)

    def test_closed_standard_output_that_is_printed_to(self):
        for more, arguments in (("--json", self.arguments()), ("", self.arguments("-")), ("", self.arguments("/dev/stdout")),
                                ("", ["info"])):
            result = self.shell(f'"$@" {more} >&-', *arguments)
            self.assertEqual(result.code, 1, str(result))
            self.assertEqual(len(result.sentences), 1, str(result))
            self.assertIn("cannot write", result.sentences[0])
        self.assertEqual(self.ids(self.bytes_of(self.output)), IDS)

    def test_log_that_cannot_be_written(self):
        for redirection in ("2> /dev/full", "2> >(true)"):
            if os.path.exists(self.output):
                os.remove(self.output)
            result = self.shell(f'"$@" {redirection}', *self.arguments())
            self.assertEqual(result.code, 0, str(result))
            self.assertEqual(self.ids(self.bytes_of(self.output)), IDS)

    def test_standard_output_that_does_not_block(self):
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        model = byte_model(self.folder)
        text = self.write("text.txt", "word " * 100000)
        process = self.spawn(["tokenize", "--model", model, "--file", text], stdout=theirs)
        self.assertFalse(os.get_blocking(theirs))
        os.close(theirs)
        time.sleep(0.5)
        with os.fdopen(ours, encoding="utf-8") as file:
            tokens = json.load(file)
        self.assertEqual((process.wait(), len(tokens)), (0, 500000), process.stderr.read())
        process.communicate()

    def test_limit_of_file_sizes(self):
        many = self.many_prompts()
        result = self.shell('ulimit -f 20; "$@"', *self.arguments(prompts=many))
        self.assertEqual(result.code, 1, str(result))
        self.assertIn("File too large", result.sentences[0])
        self.assertTrue(self.bytes_of(self.output).endswith(b"}\n"))

    def test_signals_that_are_ignored_or_blocked(self):
        for name in ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1"):
            number = getattr(signal, name)
            many = self.many_prompts()
            output = self.path(name)

            def ignore(number=number):
                signal.signal(number, signal.SIG_IGN)

            process = self.spawn(self.arguments(output, many), preexec_fn=ignore)
            self.wait_for_records(process, output)
            process.send_signal(number)
            process.send_signal(number)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, name)
            self.assertEqual(len(self.ids(self.bytes_of(output))), 400)
        output = self.path("blocked")
        process = self.spawn(self.arguments(output, many),
                             preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)))
        self.wait_for_records(process, output)
        process.terminate()
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 4)

    def test_terminal_that_closes(self):
        many = self.many_prompts()
        process = self.spawn(self.arguments(prompts=many))
        self.wait_for_records(process, self.output)
        process.send_signal(signal.SIGHUP)
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 4, stderr)
        self.assertIn("kvfold: stopped by SIGHUP", stderr)
        self.assertTrue(self.bytes_of(self.output).endswith(b"}\n"))

    def wait_for_records(self, process, output):
        self.wait_until(lambda: os.path.exists(output) and os.path.getsize(output) > 0, process)


@unittest.skipUnless(REFUSING_CALLS, "KVFOLD_REFUSING_CALLS is not set")
class PoorFileSystems(Output):
    @staticmethod
    def is_locked_by_fcntl(path):
        """Whether another process holds a lock on it, which is asked for and not taken."""
        query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of 64-bit Linux
        with open(path, "rb") as file:
            kind = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, query))[0]
        return kind != fcntl.F_UNLCK

    def run_refusing(self, arguments, ranks=None, **refused):
        settings = {"LD_PRELOAD": REFUSING_CALLS, **{f"REFUSE_{name.upper()}": str(number) for name, number in refused.items()}}
        if ranks is None:
            return start(["env", *(f"{name}={value}" for name, value in settings.items()), KVFOLD, *map(str, arguments)])
        exports = [word for name, value in settings.items() for word in ("-x", f"{name}={value}")]
        return start([MPIRUN, "-n", str(ranks), *MPI_ARGUMENTS, *exports, KVFOLD, *map(str, arguments)])

    def assert_results(self, result, n_warnings, word=""):
        self.assert_done(result)
        warnings = [line for line in result.stderr.splitlines() if "warning" in line and self.folder in line]
        self.assertEqual(len(warnings), n_warnings, str(result))
        for line in warnings:
            self.assertIn(word, line)
        self.assertEqual(self.ids(self.bytes_of(self.output)), IDS)
        os.remove(self.output)

    def test_no_locks(self):
        for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO):
            for ranks in (None, 2) if number == errno.ENOSYS else (None,):
                result = self.run_refusing(self.arguments(), ranks, flock=number, fcntl_lock=number)
                self.assert_results(result, 1, os.strerror(number))

    def test_locks_by_fcntl_where_there_is_no_flock(self):
        self.assert_results(self.run_refusing(self.arguments(), flock=errno.ENOSYS), 0)
        os.environ["LD_PRELOAD"], os.environ["REFUSE_FLOCK"] = REFUSING_CALLS, str(errno.ENOSYS)
        try:
            first = self.spawn(self.arguments(prompts=self.many_prompts()))
        finally:
            del os.environ["LD_PRELOAD"], os.environ["REFUSE_FLOCK"]
        self.wait_until(lambda: os.path.exists(self.output) and self.is_locked_by_fcntl(self.output), first)
        first.send_signal(signal.SIGSTOP)  # so that it cannot be done before the second one tries
        self.assertTrue(self.is_locked_by_fcntl(self.output))
        result = self.run_refusing(self.arguments(), flock=errno.ENOSYS)
        self.assert_refused(result, self.output, "another process")
        first.send_signal(signal.SIGCONT)
        _, stderr = first.communicate(timeout=60)
        self.assertEqual(first.returncode, 0, stderr)
        self.assertEqual(len(self.ids(self.bytes_of(self.output))), 400)

    def test_locks_of_another_process(self):
        result = self.run_refusing(self.arguments(), flock=errno.EWOULDBLOCK)
        self.assert_refused(result, self.output, "another process")

    def test_no_sync(self):
        for number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS):
            self.assert_results(self.run_refusing(self.arguments(), fsync=number), 1, os.strerror(number))
        for number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS, errno.EBADF, errno.EACCES):
            self.assert_results(self.run_refusing(self.arguments(), folder_fsync=number), 1, os.strerror(number))
        self.assert_results(self.run_refusing(self.arguments(), 2, fsync=errno.ENOSYS, folder_fsync=errno.ENOSYS), 1)
        logits = self.path("logits.npy")
        result = self.run_refusing(self.score_arguments(logits), fsync=errno.ENOSYS, folder_fsync=errno.ENOSYS,
                                   flock=errno.ENOLCK, fcntl_lock=errno.ENOLCK)
        self.assert_done(result)
        self.assertEqual(read_npy(logits)[:2], (8, 256))

    def test_syncs_that_fail(self):
        for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            for call in ("fsync", "folder_fsync"):
                result = self.run_refusing(self.arguments(), **{call: number})
                self.assert_refused(result, self.output, os.strerror(number), code=1)
                self.assertEqual(self.bytes_of(self.output), b"")

    def test_no_truncation(self):
        for number in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            self.assert_results(self.run_refusing(self.arguments(), ftruncate=number), 0)
            self.assert_done(kvfold(*self.arguments()))
            whole = self.bytes_of(self.output)
            torn = whole[:whole.index(b"\n") + 60]
            with open(self.output, "wb") as file:
                file.write(torn)
            self.assert_done(self.run_refusing(self.arguments(), ftruncate=number))
            # What is torn stays as a line of its own, which the next start passes over.
            self.assertEqual(self.bytes_of(self.output)[:len(torn) + 1], torn + b"\n")
            before = self.bytes_of(self.output)
            summary = self.assert_json(kvfold(*self.arguments(), "--json"))
            self.assertEqual((summary["done"], summary["done_before"]), (0, 3))
            self.assertEqual(self.bytes_of(self.output), before)
            os.remove(self.output)


if __name__ == "__main__":
    main()
