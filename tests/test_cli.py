#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program from outside: every verb, every exit status, the shape of what it prints.

usage: test_cli.py BACKBENCH [--quiet | --plans | --beside | CASE...]

--quiet: only what judges times, for a machine that does nothing else meanwhile; --plans: what measures candidates, at least 0.2 s
for each problem, longer where others disturb; --beside: all the rest."""

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = None
VERBS = ["machine", "peak", "list", "test", "conv", "model", "run", "explain", "crossover"]
SMALL = "mb1ic16ih14oc16oh14kh3ph1n\"small\""
SANITIZED = bool(os.environ.get("BB_SANITIZED"))  # takes address space and time of its own
FULL = bool(os.environ.get("BB_TEST_FULL"))
QUICK = ["--min-time", "0.01"]
# Rows of a result must have these, whatever they measured.
ROW = ["name", "run_name", "run_type", "threads", "iterations", "real_time", "cpu_time", "time_unit", "problem", "kernel", "isa",
       "algorithm", "mb", "cache", "time_min_ns", "time_p10_ns", "time_p50_ns", "time_p90_ns", "time_p99_ns", "samples", "flops_valid",
       "flops", "flops_executed", "pct_executed", "gflops", "gflops_padded", "gflops_executed", "pct_peak", "peak_gflops", "probe_drift_pct", "bytes", "intensity",
       "err_l2", "err_max_rms", "err_bound", "weights_bytes", "packed_bytes", "workspace_bytes", "noise_pct", "grade"]
CONTEXT = ["algorithm", "accuracy", "plan", "schema_version", "version", "commit", "dirty", "compiler", "compiler_flags", "cpu", "caches", "isa", "cpus",
           "load_avg", "os", "libc", "seed", "data", "denormal_mode", "peaks", "date", "complete"]


def run(*args, env=None, timeout=300, program=None, **more):
    environment = dict(os.environ, **(env or {}))
    return subprocess.run([program or PROGRAM, *args], capture_output=True, text=True, timeout=timeout, env=environment, **more)


class Cli(unittest.TestCase):
    share = "--beside"

    def ok(self, *args, status=0, **more):
        result = run(*args, **more)
        self.assertEqual(result.returncode, status, f"{args}: {result.stderr}{result.stdout[-500:]}")
        return result.stdout

    # One line on stderr that names the program; nothing half-written on stdout.
    def refused(self, *args, status=2, says=None, **more):
        result = run(*args, **more)
        self.assertEqual(result.returncode, status, f"{args}: {result.stderr}{result.stdout[-500:]}")
        self.assertEqual(result.stdout, "", args)
        self.assertEqual(result.stderr.count("\n"), 1, f"{args}: {result.stderr}")
        self.assertTrue(result.stderr.startswith("backbench: "), result.stderr)
        if says:
            self.assertIn(says, result.stderr)

    # Lines of a table in markdown or CSV, all of the same width.
    def table(self, text):
        md = text.startswith("|")
        lines = [l.replace("\\|", "").split("|") for l in text.splitlines()] if md else list(csv.reader(io.StringIO(text, newline="")))
        self.assertEqual({len(l) for l in lines}, {len(lines[0])}, text[:1000])
        return len(lines) - 1 - md

    def rows(self, *args, **more):
        result = json.loads(self.ok(*args, "--format", "json", **more))
        for key in CONTEXT:
            self.assertIn(key, result["context"])
        return result["benchmarks"]


class Help(Cli):
    def test_every_verb(self):
        for verb in VERBS:
            text = self.ok(verb, "--help")
            self.assertIn("usage: backbench " + verb, text)
        self.assertEqual(self.ok("-h"), self.ok("--help"))
        for verb in VERBS:
            self.assertIn(f"  {verb} ", self.ok("--help"))

    def test_flags_of_the_contract(self):
        text = self.ok("conv", "--help")
        for flag in ["isa", "impl", "alg", "accuracy", "threads", "cpus", "mb", "cache", "min-time", "repetitions", "max-noise", "seed", "data",
                     "filter", "phases", "samples", "no-check", "peer", "format", "out", "note", "suite", "model",
                     "batch", "full"]:
            self.assertIn(f"--{flag} ", text)

    def test_version(self):
        self.assertRegex(self.ok("--version"), r"^backbench \d+\.\d+\.\d+\n$")


class Usage(Cli):
    def test_verbs_and_flags(self):
        for verb in ["nonsense", "compare", "report", "rerun", "CONV"]:
            self.refused(verb, says=verb)
        for verb in VERBS:
            self.refused(verb, "--nonsense", says="--nonsense")
        self.refused("--nonsense")
        self.refused("machine", "argument")
        self.refused("list")
        self.refused("list", "nonsense")
        self.refused("run")
        self.refused("explain")
        self.refused("conv")
        self.refused("model")
        self.refused("conv", SMALL, "--threads")

    def test_values(self):
        for flag, values in {
                "--threads": ["0", "-1", "x", "1,", "4-2", "1-", "99999", "1 2", ""],
                "--mb": ["0", "x"],
                "--isa": ["sse", "avx512,", "AVX2"],
                "--alg": ["wino", ""],
                "--accuracy": ["exact", ""],
                "--cache": ["warm"],
                "--data": ["random"],
                "--format": ["xml"],
                "--min-time": ["-1", "x", "nan", "inf", "1s"],
                "--repetitions": ["0", "x"],
                "--max-noise": ["0", "x"],
                "--seed": ["-1", "x", "99999999999999999999"],
                "--filter": ["("],
                "--impl": ["["],
                "--cpus": ["x", "4000"],
                "--peer": ["nobody"],
                "--suite": ["core"],
                "--note": ["novalue", "=x"],
                "--out": ["noextension", "x.xml"],
        }.items():
            for value in values:
                self.refused("conv", SMALL, flag, value)
        self.refused("conv", SMALL, "--phases=1")
        for flag in ["--channels", "--sizes"]:
            for value in ["0", "x", "", "70000"]:
                self.refused("crossover", flag, value)
        self.refused("crossover", "32")
        self.refused("crossover", "--accuracy", "fast", says="--accuracy")  # it shows all of them
        self.refused("crossover", "--channels", "65536", "--sizes", "65536")

    def test_what_a_verb_cannot_honour(self):
        for flag in ["--out=x.json", "--out=/missing/x.json", "--format=json", "--note=who=me", "--peer=onednn", "--repetitions=2",
                     "--model=vgg16", "--benchmark_filter=x"]:
            self.refused("conv", "--suite", "tails", flag, says=flag.split("=")[0])
        self.refused("conv", "--suite", "tails", SMALL)
        self.refused("conv", SMALL, "--full", says="tails")
        self.refused("test", "--format", "json", says="--format")
        self.refused("test", "--mb", "2", says="--models")
        self.refused("test", "--models", "--filter", "nonsense", says="nonsense")
        self.refused("test", "--accuracy", "strict", "--filter", "wino", says="wino")
        self.refused("peak", "--min-time", "1", says="--min-time")
        self.refused("machine", "-v", says="-v")
        self.refused("list", "models", "--isa", "generic", says="--isa")
        self.refused("model", "ghostnet_100", "--layers", "--streams", "2", says="--streams")

    def test_google_benchmark(self):
        self.refused("conv", SMALL, "--benchmark_format=json", says="--format")
        self.refused("conv", SMALL, "--benchmark_out=/missing/x", says="/missing/x")
        for more in [[], ["--benchmark_list_tests"]]:
            self.refused("conv", SMALL, "--benchmark_filter=nonsense", *more, says="--benchmark_filter")

    def test_problems(self):
        for problem in ["nonsense", "mb1", "mb0ic16ih14oc16kh3ph1", "mb1ic-1ih14oc16kh3ph1", "mb1ic16ih2oc16kh5ph0",
                        "g3mb1ic16ih14oc16kh3ph1", "mb1ic16ih14oc16oh99kh3ph1", "mb1ic16ih14oc16kh3sh0ph1",
                        "mb65536ic65536ih65536oc65536kh3ph1", "mb99999999999ic16ih14oc16kh3ph1", "mb1ic16ih14oc16kh3ph1zz3",
                        "+relu"]:
            self.refused("conv", problem)
            self.refused("explain", problem)
        self.refused("conv", SMALL, "+nonsense")

    def test_names(self):
        self.refused("model", "nonsense", says="nonsense")
        self.refused("run", "nonsense", "--input", "x.npy", says="nonsense")
        self.refused("conv", "--model", "nonsense", says="nonsense")
        algorithms = {k["algorithm"] for k in json.loads(self.ok("list", "kernels", "--format", "json"))}
        for alg in {"wino23", "wino43", "wino63"} - algorithms:
            self.refused("model", "vgg16", "--alg", alg, says=alg)
            self.refused("run", "vgg16", "--input", "x.npy", "--alg", alg, says=alg)
        self.refused("explain", SMALL, "--threads", "1,2", says="--threads")
        self.refused("explain", SMALL, "--cache", "hot,cold", says="--cache")
        self.refused("list", "parameters")
        self.refused("list", "parameters", "--model", "nonsense")
        self.refused("conv", SMALL, "--impl", "nonsense", says="nonsense")
        self.refused("explain", SMALL, "--impl", "nonsense", says="nonsense")
        self.refused("conv", SMALL, "--filter", "nonsense", says="nonsense")
        self.refused("conv", SMALL, "--benchmark_nonsense=1", says="--benchmark_nonsense")
        self.refused("machine", env={"BB_ISA": "nonsense"}, says="BB_ISA")

    def test_files(self):
        with tempfile.TemporaryDirectory() as d:
            started = time.time()
            for out in [f"{d}/missing/x.json", "/dev/null/x.json"]:
                self.refused("conv", "--suite", "core40", "--out", out, says=out)
            os.mkdir(f"{d}/dir.json")
            self.refused("conv", SMALL, "--out", f"{d}/dir.json")
            self.assertLess(time.time() - started, 5, "found before measuring")
            self.refused("conv", "--batch", f"{d}/missing", says="missing")
            self.refused("conv", "--batch", d)
            os.mkfifo(f"{d}/fifo")
            self.refused("conv", SMALL, "--wisdom", f"{d}/fifo", says="regular")
            for flag in ["--input", "--image", "--weights"]:
                self.refused("run", "resnet50", flag, f"{d}/fifo", says="regular")
            with open(f"{d}/batch", "w") as f:
                f.write(f"# comment\n\n{SMALL}\nnonsense\n")
            self.refused("conv", "--batch", f"{d}/batch", says="batch:4")
            with open(f"{d}/loop", "w") as f:
                f.write("--batch=loop\n")
            self.refused("conv", "--batch", f"{d}/loop")
            with open(f"{d}/damaged.npy", "wb") as f:
                f.write(b"\x93NUMPY\x01\x00\xff")
            self.refused("run", "resnet50", "--input", f"{d}/damaged.npy")
            for output in ["new", "batch"]:
                self.refused("run", "resnet50", "--input", f"{d}/missing.npy", "--output", f"{d}/{output}",
                             says="missing.npy" if output == "new" else "--output")
            self.refused("run", "resnet50")
            with open(f"{d}/damaged.safetensors", "wb") as f:
                f.write(b"\xff\xff\xff\xff\xff\xff\xff\x7f{}")
            npy(f"{d}/x.npy", (1, 3, 64, 64))
            self.refused("run", "resnet50", "--input", f"{d}/x.npy", "--weights", f"{d}/damaged.safetensors")
            npy(f"{d}/channels.npy", (1, 4, 64, 64))
            self.refused("run", "resnet50", "--input", f"{d}/channels.npy", says="3")
            with open(f"{d}/x.png", "wb") as f:
                f.write(b"no picture")
            self.refused("run", "resnet50", "--image", f"{d}/x.png")
            self.assertEqual(sorted(os.listdir(d)), ["batch", "channels.npy", "damaged.npy", "damaged.safetensors", "dir.json", "fifo", "loop",
                                                     "x.npy", "x.png"], "nothing half-written")


# All 0.5, or these values.
def npy(path, shape, values=None):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    count = 1
    for n in shape:
        count *= n
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + (values or b"\0\0\0\x3f" * count))


class Isa(Cli):
    def test_caps(self):
        here = {x["name"]: x["runs_here"] for x in json.loads(self.ok("list", "isas", "--format", "json"))}
        self.assertTrue(here["generic"])
        missing = [name for name, runs in here.items() if not runs]
        for name in missing:
            self.refused("conv", SMALL, "--isa", name, status=77)
            for verb in [["peak"], ["list", "isas"], ["list", "kernels"], ["test"]]:
                self.refused(*verb, "--isa", name, status=77)
            rows = self.rows("conv", SMALL, "--isa", "generic," + name, *QUICK)
            self.assertEqual([r["status"] for r in rows], ["ok", "skipped"])
            self.assertRegex(self.ok("test", "--isa", "generic," + name, "--filter", "conv_direct.*mb1ic7.*/int"), name + " +skipped: ")
        runs = [name for name, runs in here.items() if runs][:2]
        self.assertEqual(len(self.ok("list", "isas", "--isa", "generic").splitlines()), 1)
        text = self.ok("test", "--models", "--isa", ",".join(runs), "--filter", "^model/ghostnet")
        self.assertEqual([l.split("/")[2] for l in text.splitlines() if l.startswith("model/")], runs)
        rows = self.rows("conv", SMALL, *QUICK, env={"BB_ISA": "generic"})
        self.assertTrue(rows[0]["kernel"].endswith("_generic"), rows[0]["kernel"])


class Lists(Cli):
    def test_all(self):
        for what in ["kernels", "models", "cases", "isas", "peers"]:
            lines = self.ok("list", what).splitlines()
            objects = json.loads(self.ok("list", what, "--format", "json"))
            self.assertEqual([l.split()[0] for l in lines], [o["name"] for o in objects])
            self.assertEqual(self.table(self.ok("list", what, "--format", "csv")), len(lines))
            self.assertEqual(self.table(self.ok("list", what, "--format", "md")), len(lines))

    def test_fields(self):
        for model in json.loads(self.ok("list", "models", "--format", "json")):
            for key in ["name", "family", "source", "input", "params", "macs", "activations", "outputs"]:
                self.assertIn(key, model)
        cases = json.loads(self.ok("list", "cases", "--format", "json"))
        self.assertEqual(sum("core40" in c["suites"] for c in cases), 40)
        self.assertEqual(sum("quick12" in c["suites"] for c in cases), 12)
        names = [p["name"] for p in json.loads(self.ok("list", "parameters", "--model", "resnet50", "--format", "json"))]
        self.assertIn("layer1.0.conv2.weight", names)
        self.assertEqual(len(self.ok("list", "kernels", "--filter", "^conv_direct.*generic").splitlines()), 1)


class Machine(Cli):
    def test_machine(self):
        self.assertIn("doctor", self.ok("machine"))
        for doctor in json.loads(self.ok("machine", "--format", "json"))["doctor"]:
            self.assertEqual(sorted(doctor), ["fix", "name", "problem"])
        with tempfile.TemporaryDirectory() as d:
            text = self.ok("machine", *[x for e in ("json", "csv", "md", "txt") for x in ("--out", f"{d}/m.{e}")])
            self.assertEqual(read(f"{d}/m.txt").splitlines()[0], text.splitlines()[0])
            self.assertEqual(self.table(read(f"{d}/m.csv")), len(json.loads(read(f"{d}/m.json"))) - 1)
            self.table(read(f"{d}/m.md"))

    def test_the_same_machine_each_time(self):
        # Units that have slept start slowly: each run finds them asleep, or not.
        found = set()
        for _ in range(8):
            found.add(json.loads(self.ok("machine", "--format", "json")).get("fma512_per_cycle"))
            time.sleep(0.05)
        self.assertEqual(len(found), 1, found)

    def test_peak(self):
        with tempfile.TemporaryDirectory() as d:
            text = self.ok("peak", "--threads", "1", "--isa", "generic", *[x for e in ("json", "csv", "md") for x in ("--out", f"{d}/p.{e}")])
            self.assertIn("peak/fma/generic/t1", text)
            rows = json.load(open(f"{d}/p.json"))["benchmarks"]
            self.assertTrue(all(r.get("gflops", 1) > 0 and r.get("gbytes_per_s", 1) > 0 for r in rows))
            self.assertIn("peak/read/DRAM/t1", [r["name"] for r in rows])
            for e in ["csv", "md"]:
                self.assertEqual(self.table(read(f"{d}/p.{e}")), len(rows))

    def test_quick(self):
        with tempfile.TemporaryDirectory() as d:
            text = self.ok("--cpus", str(min(os.sched_getaffinity(0))), "--filter", "rn_5b", "--no-check", "--out", f"{d}/q.json", "--out",
                           f"{d}/q.csv", *QUICK)
            for word in ["doctor", "peak/copy/L1/t1", "conv/rn_5b/", "next:"]:
                self.assertIn(word, text)
            result = json.loads(read(f"{d}/q.json"))
            names = [r["name"] for r in result["benchmarks"]]
            self.assertIn("peak/read/DRAM/t1", names)
            self.assertTrue(names[-1].startswith("conv/rn_5b/"))
            self.assertIn("generic", [p["isa"] for p in result["context"]["peaks"]])
            self.assertEqual(self.table(read(f"{d}/q.csv")), len(names))


class Conv(Cli):
    share = "--quiet"

    def test_row(self):
        row, = self.rows("conv", SMALL, "+bias+relu", *QUICK)
        for key in ROW:
            self.assertIn(key, row)
        self.assertRegex(row["name"], r"^conv/small/conv_[a-z0-9_]+/t1/mb1/hot$")
        self.assertLessEqual(row["err_l2"], row["err_bound"])
        self.assertIn(row["grade"], "ABC")
        self.assertLessEqual(row["time_min_ns"], row["time_p50_ns"])
        if row["grade"] != "C" and not SANITIZED:  # sanitizers run this beside others
            self.assertLess(row["pct_executed"], 103)

    def test_product_of_lists(self):
        rows = self.rows("conv", SMALL, "--threads", "1,2", "--mb", "1,2", "--cache", "hot,cold", *QUICK)
        self.assertEqual(len({r["name"] for r in rows}), 8)
        self.assertEqual({(r["threads"], r["mb"], r["cache"]) for r in rows},
                         {(t, n, c) for t in (1, 2) for n in (1, 2) for c in ("hot", "cold")})
        apart = [r for r in rows if r["threads"] == 2 and r["pinned"]]  # not one thread, nor two that share a processor
        known = [r["transfer_ns"] for r in rows if "transfer_ns" in r]
        self.assertTrue(all(0.05 < ns < 1e3 for ns in known))
        self.assertEqual(bool(known), bool(apart))
        self.assertFalse([r for r in rows if "transfer_ns" in r and r not in apart])

    def test_one_name_twice(self):
        self.assertEqual([r["name"][-2:] for r in self.rows("conv", SMALL, SMALL, *QUICK)], ["ot", "#2"])

    def test_options(self):
        row, = self.rows("conv", SMALL, "--samples", "--phases", "--note", "who=me", *QUICK)
        self.assertEqual(len(row["samples_ns"]), row["samples"])
        self.assertIn("scheduling", row["phases"])
        self.assertGreater(sum(row["phases"].values()), 0)
        for impl in ["wino43_nchw", "wino43staged_nchw"]:
            row, = self.rows("conv", SMALL, "--isa", "generic", "--impl", impl, "--phases", *QUICK)
            self.assertEqual(list(row["phases"]), ["input", "multiply", "output", "scheduling"])
            self.assertGreater(min(list(row["phases"].values())[:3]), 0)
        row, = self.rows("conv", SMALL, "--phases", "--threads", "2", "--cache", "cold", *QUICK)
        self.assertGreater(max(row["phases"].values()), 0)
        row, = self.rows("conv", SMALL, "--no-check", *QUICK)
        self.assertFalse(row["checked"])
        self.assertNotIn("err_l2", row)
        self.assertEqual(len(self.rows("conv", SMALL, "--repetitions", "3", *QUICK)), 3)
        self.assertEqual(len(self.rows("conv", SMALL, "--benchmark_filter=/t2/", "--threads", "1,2", *QUICK)), 1)
        self.assertIn("conv/small/", self.ok("conv", SMALL, "--benchmark_list_tests"))
        for data in ["int", "zeros", "denormal"]:
            self.rows("conv", SMALL, "--data", data, *QUICK)
        self.assertGreater(len(self.rows("conv", SMALL, "--impl", "generic|direct", *QUICK)), 1)

    @unittest.skipIf(SANITIZED, "the peer is not slowed down, the probe is: it would exceed the peak")
    def test_filter_with_peer(self):
        for name in ["peer:", "/conv_"]:
            rows = self.rows("conv", SMALL, "--peer", "onednn", "--filter", name, *QUICK)
            self.assertEqual(len(rows), 1)
            self.assertIn(name, rows[0]["name"])

    def test_no_such_algorithm(self):
        algorithms = {k["algorithm"] for k in json.loads(self.ok("list", "kernels", "--format", "json"))}
        for alg in ["wino23", "wino43", "wino63"]:
            if alg not in algorithms:
                self.refused("conv", SMALL, "--alg", alg, says=alg)

    def test_accuracy(self):
        admitted = {"strict": {"direct"}, "default": {"direct", "wino23", "wino43"},
                    "fast": {"direct", "wino23", "wino43", "wino63"}}
        for accuracy, algorithms in admitted.items():
            result = json.loads(self.ok("conv", SMALL, "mb1ic64ih28oc64kh3ph1n\"larger\"", "--accuracy", accuracy, "--format", "json",
                                        *QUICK))
            self.assertEqual(result["context"]["accuracy"], accuracy)
            for row in result["benchmarks"]:
                self.assertIn(row["algorithm"], algorithms)
        row, = self.rows("conv", SMALL, "--alg", "direct", "--accuracy", "fast", *QUICK)
        self.assertEqual(row["algorithm"], "direct")

    def test_outputs(self):
        with tempfile.TemporaryDirectory() as d:
            files = [f"{d}/a.{e}" for e in ("json", "csv", "md", "txt")]
            text = self.ok("conv", SMALL, *QUICK, *[x for f in files for x in ("--out", f)])
            self.assertEqual(sorted(os.listdir(d)), ["a.csv", "a.json", "a.md", "a.txt"])
            self.assertTrue(json.load(open(files[0]))["context"]["complete"])
            header, line = list(csv.reader(open(files[1], newline="")))
            self.assertEqual(len(header), len(line))
            self.assertTrue(open(files[2]).read().startswith("| name"))
            self.assertEqual(open(files[3]).read(), text)

    def test_batch(self):
        with tempfile.TemporaryDirectory() as d:
            with open(f"{d}/inner", "w") as f:
                f.write(f"{SMALL}  # the same\n")
            with open(f"{d}/outer", "w") as f:
                f.write("# a comment\n--batch=inner\nmb1ic8ih7oc8kh1n\"other*4\"\n")
            rows = self.rows("conv", "--batch", f"{d}/outer", *QUICK)
            self.assertEqual([r["name"].split("/")[1] for r in rows], ["small", "other"])
            self.assertEqual(rows[1]["count"], 4)

    def test_too_noisy(self):
        result = run("conv", SMALL, *QUICK, "--max-noise", "0.01")
        self.assertIn(result.returncode, (0, 4))  # 0: a miracle of a machine

    @unittest.skipIf(SANITIZED, "the peer is not slowed down, the probe is: it would exceed the peak")
    def test_peer(self):
        peer, = json.loads(self.ok("list", "peers", "--format", "json"))
        rows = self.rows("conv", SMALL, "--peer", "onednn", "--isa", "generic", *QUICK)
        self.assertEqual(rows[1]["kernel"], "peer:onednn")
        self.assertEqual(rows[1]["status"], "ok" if peer["available"] else "skipped")
        if peer["available"]:
            self.assertLess(rows[0]["peer_ratio_low"], rows[0]["peer_ratio_high"] * 1.0000001)

    def test_tails(self):
        self.assertIn("passed, 0 failed", self.ok("conv", "--suite", "tails", "--isa", "generic"))

    def test_interrupt(self):
        with tempfile.TemporaryDirectory() as d:
            p = subprocess.Popen([PROGRAM, "conv", SMALL, "--threads", "1,2", "--mb", "1,2,3,4,5,6,7,8",
                                  "--min-time", "0.3", "--out", f"{d}/x.json"], stdout=subprocess.PIPE, text=True)
            p.stdout.readline()
            p.stdout.readline()  # the first row is there
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=60)
            self.assertEqual(p.returncode, 130)
            result = json.load(open(f"{d}/x.json"))
            self.assertFalse(result["context"]["complete"])
            self.assertTrue(0 < len(result["benchmarks"]) < 16)
            self.assertEqual(os.listdir(d), ["x.json"])

    def test_no_space(self):
        if os.path.exists("/dev/full"):
            for args in [["list", "cases"], ["conv", SMALL, *QUICK]]:
                with open("/dev/full", "w") as full:
                    result = subprocess.run([PROGRAM, *args], stdout=full, stderr=subprocess.PIPE, text=True)
                self.assertEqual(result.returncode, 5)
                self.assertRegex(result.stderr, "^backbench: stdout: (No space|cannot be written)")

    @unittest.skipIf(SANITIZED, "a limit on addresses stops the sanitizer itself")
    def test_no_memory(self):
        import resource
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        result = run("conv", "mb512ic512ih112oc512oh112kh3ph1", preexec_fn=limit)
        self.assertEqual(result.returncode, 5, result.stderr)

    def test_no_threads(self):
        import resource

        def limit(threads):
            resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
            if os.getuid() == 0:  # for whom the limit does not hold
                os.setgid(65534)
                os.setuid(65534)
        try:
            # The search for leaks needs a thread of its own.
            self.refused("conv", SMALL, "--threads", "8", status=5, says="thread", preexec_fn=lambda: limit(1),
                         env={"ASAN_OPTIONS": "detect_leaks=0"})
        except (PermissionError, BlockingIOError) as e:
            self.skipTest(f"nobody cannot start the program here: {e}")
        peer, = json.loads(self.ok("list", "peers", "--format", "json"))
        if peer["available"] and not SANITIZED:  # enough for ours, not for OpenMP's too
            self.refused("conv", SMALL, "--threads", "2", "--peer", "onednn", *QUICK, preexec_fn=lambda: limit(2), status=5)


class Failures(Cli):
    def test_every_place(self):
        """The n-th allocation of the program's own fails, then its n-th thread: one sentence, and what is written is whole."""
        program = os.path.join(os.path.dirname(PROGRAM), "tests", "backbench_failing")
        with tempfile.TemporaryDirectory() as d:
            npy(f"{d}/x.npy", (1, 3, 32, 32))
            for step, args in [(1, ["machine"]),
                               (6, ["conv", SMALL, "--alg", "wino43", "--threads", "2", "--min-time", "0", "--out", f"{d}/x.json"]),
                               (40, ["run", "ghostnet_100", "--input", f"{d}/x.npy", "--threads", "2"])]:
                self.ok(*args, program=program, env={"BB_FAIL_COUNT": f"{d}/count"})
                count = int(read(f"{d}/count"))
                places = [("BB_FAIL_MEMORY", n) for n in range(0, count, 1 if FULL else 3 * step if SANITIZED else step)]
                refused = 0
                for kind, n in [*places, ("BB_FAIL_THREAD", 0)]:
                    result = run(*args, program=program, env={kind: str(n)})
                    what = f"{args}, {kind}={n}: {result.stderr}"
                    if result.returncode == 0 and (kind == "BB_FAIL_MEMORY" or args == ["machine"]):
                        continue  # it can do without
                    refused += 1
                    self.assertEqual(result.returncode, 5, what)
                    self.assertRegex(result.stderr, r"\Abackbench: [^\n]{10,}\n\Z", what)
                    if os.path.exists(f"{d}/x.json"):
                        json.loads(read(f"{d}/x.json"))
                self.assertGreater(refused, 0.9 * len(places), args)


class Verify(Cli):
    share = "--plans"

    def test_test(self):
        self.assertIn(", 0 failed", self.ok("test", "--isa", "generic"))
        self.assertIn(", 0 failed", self.ok("test", "--exact", "--filter", "conv_.*/int", "--seed", "7"))
        self.refused("test", "--impl", "nonsense")
        self.assertNotIn("wino", self.ok("test", "--accuracy", "strict", "--filter", "conv_.*mb1ic7.*/int"))

    def test_explain(self):
        self.assertIn("<- chosen", self.ok("explain", SMALL, "--isa", "generic", *QUICK))
        result = json.loads(self.ok("explain", SMALL, "--format", "json", "--impl", "_(direct|wino.3)_", *QUICK))
        self.table(self.ok("explain", SMALL, "--format", "csv", "--impl", "direct_.*generic", *QUICK))
        chosen, = [k for k in result["kernels"] if k["chosen"]]
        self.assertEqual(chosen["kernel"], result["chosen"])
        self.assertGreaterEqual(result["behind_hot"], 1)
        for key in ["predicted_ns", "hot_ns", "cold_ns", "err_l2", "err_bound", "packed_bytes", "workspace_bytes"]:
            self.assertGreaterEqual(chosen[key], 0)
        self.assertLessEqual(chosen["err_l2"], chosen["err_bound"])
        for k in result["kernels"]:
            self.assertEqual(k["accuracy"], {"direct": "strict", "wino63": "fast"}.get(k["algorithm"], "default"))
        every = json.loads(self.ok("explain", "mb1ic16ih8oc64kh3ph1", "--format", "json", "-v", "--impl", "_(direct|wino43)_", *QUICK))["kernels"]
        self.assertGreater(len([k for k in every if k["accepts"]]), len({k["kernel"] for k in every if k["accepts"]}))
        strict = json.loads(self.ok("explain", SMALL, "--format", "json", "--accuracy", "strict", "--impl", "_direct_", *QUICK))
        self.assertEqual([k["algorithm"] for k in strict["kernels"] if k["chosen"]], ["direct"])

    def test_explain_named(self):
        large = "mb1ic64ih24oc64oh24kh3ph1"  # for F(6,3)
        for problem, name in [(SMALL, "wino63"), (SMALL, "direct_nchw_generic"), (large, "wino")]:  # whatever the accuracy and the planner say
            result = json.loads(self.ok("explain", problem, "--format", "json", "--impl", name, *QUICK))
            chosen, = [k for k in result["kernels"] if k["chosen"]]
            self.assertEqual(chosen["kernel"], result["chosen"])
            self.assertIn(name.split("_")[0], chosen["algorithm"])
            self.assertEqual(chosen["predicted_ns"], min(k["predicted_ns"] for k in result["kernels"] if k["accepts"]))
            for k in result["kernels"]:
                self.assertTrue(name in k["kernel"] or not k["accepts"], k)
                self.assertEqual("hot_ns" in k, k["accepts"])


class Regret(Cli):
    share = "--quiet"  # two threads that measure while others run: minutes

    def test_regret(self):
        program = os.path.join(os.path.dirname(PROGRAM), "bench", "regret")
        problem = "mb1ic64ih14oc96kh3ph1n\"r\""
        for caches, more in [(["hot", "cold"], ["--alg", "direct"]), (["cold"], ["--plan", "measure", "--threads", "1" if SANITIZED else "2"])]:
            result = subprocess.run([program, problem, "--cache", ",".join(caches), "--format", "json", *QUICK, *more],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stderr)
            rows = json.loads(result.stdout)
            self.assertEqual([r["name"].split("/")[-1] for r in rows], caches)
            for row in rows:
                self.assertGreaterEqual(row["ratio"], 1)
                self.assertTrue(row["ratio"] > 1 or row["chosen"] == row["best"])
        result = subprocess.run([program, problem, "--plan", "measure", "--wisdom", "w", *QUICK], capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--wisdom", result.stderr)


class Crossover(Cli):
    share = "--plans"

    def test_map(self):
        with tempfile.TemporaryDirectory() as d:
            file = f"{d}/wisdom"
            args = ["crossover", "--channels", "16,40", "--sizes", "6", "--threads", "1", "--cache", "hot,cold", *QUICK]
            result = run(*args, "--wisdom", file, *[x for e in ("json", "md", "csv") for x in ("--out", f"{d}/x.{e}")])
            self.assertEqual(result.returncode, 0, result.stderr)
            text = result.stdout
            for accuracy in ["default", "fast"]:
                for cache in ["hot", "cold"]:
                    self.assertRegex(text, f"fastest at accuracy {accuracy}, [a-z0-9]+, 1 thread, batch 1, {cache} weights")
            self.assertEqual(text.count("\n      40 | "), 4)
            self.assertIn("fastest at accuracy fast", read(f"{d}/x.md"))
            rows = json.loads(read(f"{d}/x.json"))["benchmarks"]
            isa = rows[0]["isa"]
            here = {k["algorithm"] for k in json.loads(self.ok("list", "kernels", "--format", "json")) if k["isa"] == isa}
            self.assertEqual(len(rows), 4 * len(here))
            for row in rows:
                for key in ROW:
                    self.assertIn(key, row)
                self.assertEqual("speedup" in row, row["algorithm"] != "direct")
                self.assertLessEqual(row["err_l2"], row["err_bound"])
            speedups = [r["speedup"] for r in csv.DictReader(io.StringIO(read(f"{d}/x.csv"), newline=""))]
            self.assertEqual([bool(x) for x in speedups], ["speedup" in r for r in rows])
            lessons = {(l[3], l[6], l[8]): l[-2] for l in (l.split("\t") for l in read(file).splitlines()[1:-1])}
            winners = self.winners(rows)
            self.assertEqual({key: best for key, (best, sure) in winners.items() if sure}, lessons)
            self.assertEqual("were not written" in result.stderr, len(lessons) < len(winners))
            for (accuracy, cache, problem), (best, sure) in winners.items():
                if accuracy != "strict":
                    name = {"direct": "direct", "wino23": "F2", "wino43": "F4", "wino63": "F6"}[best.split("_")[1].removesuffix("staged")]
                    channels = problem.split("ic")[1].split("ih")[0]
                    self.assertRegex(text, rf"accuracy {accuracy}, .* {cache} weights.*\n.*\n(.*\n)? +{channels} \| . {name} ")
                if accuracy == "default" and sure and "ic40" in problem:
                    result = json.loads(self.ok("explain", "mb1ic40ih6oc40kh3ph1", "+bias+relu", "--wisdom", file, "--cache", cache,
                                                "--format", "json", *QUICK))
                    self.assertIn("nothing fused", result["why"])
                    self.assertEqual(result["chosen"], best)
            before = read(file)
            for flag in ["--no-check", "--filter=wino63"]:
                self.assertIn(" not written: ", run(*args, "--wisdom", file, flag).stderr)
                self.assertEqual(read(file), before)

    # By accuracy, cache and problem: the kernel of the fastest row, and whether that is beyond doubt.
    def winners(self, rows):
        found = {}
        for accuracy, last in [("strict", "direct"), ("default", "wino43"), ("fast", "wino63")]:
            for row in rows:
                cell = [r for r in rows if (r["cache"], r["problem"]) == (row["cache"], row["problem"]) and r["algorithm"] <= last]
                best = max(cell, key=lambda r: r.get("speedup", 1))
                # Medians of ratios and of times need not agree, but not by much.
                self.assertLess(best["time_p50_ns"], 1.5 * min(r["time_p50_ns"] for r in cell))
                sure = all(r is best or max(best["grade"], r["grade"]) < "C" or best.get("speedup_low", 1) > r.get("speedup_high", 1)
                           for r in cell)
                found[accuracy, row["cache"], row["problem"]] = best["kernel"], sure
        return found

    def test_repetitions(self):
        text = self.ok("crossover", "--channels", "40", "--sizes", "6", "--repetitions", "2", "--filter", "wino43", *QUICK)
        self.assertRegex(text, r"\n +40 \| . F4 +\d+e-\d+\n")  # ahead of nobody

    def test_interrupt(self):
        with tempfile.TemporaryDirectory() as d:
            p = subprocess.Popen([PROGRAM, "crossover", "--channels", "32,40", "--sizes", "7,14,28", "--min-time", "0.3", "--wisdom",
                                  f"{d}/w", "--out", f"{d}/x.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(5):
                p.stdout.readline()  # the first cell is there
            time.sleep(0.3)
            p.send_signal(signal.SIGINT)
            text, _ = p.communicate(timeout=60)
            self.assertEqual(p.returncode, 130)
            rows = json.loads(read(f"{d}/x.json"))["benchmarks"]
            maps = text[text.index("fastest at accuracy fast"):]
            self.assertEqual(len(rows), 4 * (6 - maps.count("| -")))
            self.assertLess(len(rows), 24)


def read(path):
    with open(path) as f:
        return f.read()


class Wisdom(Cli):
    share = "--plans"
    PROBLEM = "mb1ic64ih14oc96kh3ph1n\"w\""  # more than one candidate
    # In portable C 17 problems of this network have several candidates, on vectors 60: half a minute, minutes beside others.
    FEW = [] if FULL else ["--isa", "generic"]

    def lessons(self, path):
        lines = read(path).splitlines()
        self.assertEqual(lines[0], "backbench wisdom 5")
        self.assertTrue(lines[-1].startswith(f"end {len(lines) - 2} "), lines[-1])
        return [l.split("\t") for l in lines[1:-1]]

    # Its result, and what it says on stderr.
    def warned(self, *args):
        result = run(*args)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stderr

    def test_there_and_back(self):
        with tempfile.TemporaryDirectory() as d:
            file = f"{d}/wisdom"
            args = ["conv", self.PROBLEM, "--cache", "hot,cold", "--wisdom", file, *QUICK]
            measured = self.rows(*args, "--plan", "measure")
            self.assertEqual(os.listdir(d), ["wisdom"])
            before = self.lessons(file)
            self.assertEqual({(r["cache"], r["kernel"]) for r in measured}, {(l[6], l[-2]) for l in before})
            self.assertEqual([r["name"] for r in self.rows(*args)], [r["name"] for r in measured])
            # Of 1x1 more than one direct kernel on every ISA.
            pointwise = "mb1ic64ih14oc96kh1n\"p\""
            self.rows("conv", pointwise, "--accuracy", "strict", "--plan", "measure", "--wisdom", file, *QUICK)
            after = self.lessons(file)
            self.assertEqual(after[:2], before)  # what was known is not measured again
            self.assertEqual([l[3] for l in after], ["default"] * 2 + ["strict"])
            self.assertIn(f"{file} says", self.ok("explain", self.PROBLEM, "--wisdom", file, *QUICK))
            npy(f"{d}/x.npy", (1, 3, 32, 32))
            args = ["run", "ghostnet_100", "--input", f"{d}/x.npy", "--wisdom", f"{d}/run", *self.FEW]
            self.ok(*args, "--plan", "measure")
            self.assertGreater(len(self.lessons(f"{d}/run")), 5)
            self.ok(*args)

    @unittest.skipIf(SANITIZED and not FULL, "13 s; test_there_and_back measures plans of a network too")
    def test_model(self):
        with tempfile.TemporaryDirectory() as d:
            args = ["model", "ghostnet_100", "--wisdom", f"{d}/w", "--no-check", *self.FEW, *QUICK]
            measured = self.rows(*args, "--plan", "measure")
            self.assertTrue(all(l[6] == "cold" for l in self.lessons(f"{d}/w")))
            self.assertEqual([r["name"] for r in self.rows(*args)], [r["name"] for r in measured])

    def test_files_that_cannot_be_used(self):
        with tempfile.TemporaryDirectory() as d:
            file = f"{d}/wisdom"
            args = ["conv", self.PROBLEM, "--wisdom", file, *QUICK]
            self.refused(*args, says="cannot open")
            self.refused("conv", self.PROBLEM, "--wisdom", d, says=d)
            self.refused("conv", self.PROBLEM, "--plan", "measure", "--wisdom", f"{d}/missing/w", says="missing")
            self.refused("conv", self.PROBLEM, "--plan", "guess", says="guess")
            self.assertEqual(os.listdir(d), [])

            with open(file, "w") as f:
                f.write("something that somebody else needs\n")
            self.assertIn("not used", self.warned(*args))
            self.refused(*args, "--plan", "measure", says="not written over")
            self.assertEqual(read(file), "something that somebody else needs\n")

            os.unlink(file)
            self.ok(*args, "--plan", "measure")
            good = read(file)
            self.assertEqual(self.warned(*args), "")
            lines = good.splitlines(True)
            for bad in [good[:-10], good.replace("hot", "cold", 1), lines[0].replace("2", "1") + lines[-1], lines[0]]:
                with open(file, "w") as f:
                    f.write(bad)
                self.assertIn("not used", self.warned(*args))
                self.assertNotIn("delete", self.warned(*args))
                self.assertIn("will be replaced", self.warned(*args, "--plan", "measure"))
                self.assertEqual(read(file).count("\n"), len(lines))

            body = "".join(lines[:-1]).replace(lines[1].split("\t")[0], "Another CPU", 1)
            total = 0xcbf29ce484222325
            for byte in body.encode():
                total = (total ^ byte) * 0x100000001b3 % 2**64
            with open(file, "w") as f:
                f.write(f"{body}end {len(lines) - 2} {total:016x}\n")
            self.assertIn("none of the", self.warned(*args))


class Models(Cli):
    def test_run(self):
        with tempfile.TemporaryDirectory() as d:
            npy(f"{d}/x.npy", (2, 3, 64, 64))
            text = self.ok("run", "ghostnet_100", "--input", f"{d}/x.npy", "--top", "3")
            self.assertEqual(len(text.splitlines()), 6)
            self.ok("run", "ghostnet_100", "--input", f"{d}/x.npy", "--output", f"{d}/fast")
            self.ok("run", "ghostnet_100", "--input", f"{d}/x.npy", "--output", f"{d}/slow", "--reference")
            import array
            data = []
            for kind in ["fast", "slow"]:
                self.assertEqual(os.listdir(f"{d}/{kind}"), ["output_0.npy"])
                data.append(array.array("f", open(f"{d}/{kind}/output_0.npy", "rb").read()[-2 * 1000 * 4:]))
            norm = sum(b * b for b in data[1]) ** 0.5
            self.assertLess(sum((a - b) ** 2 for a, b in zip(*data)) ** 0.5, 1e-5 * norm)

    def test_interrupt(self):
        """Ends at once and leaves nothing; what takes longer than 2 s has said so on a terminal."""
        with tempfile.TemporaryDirectory() as d:
            npy(f"{d}/x.npy", (8, 3, 224, 224))
            for more, seconds in [(["--reference"], 0.5), (["--plan", "measure", "--wisdom", f"{d}/w"], 2.3)]:
                ours, theirs = os.openpty()
                p = subprocess.Popen([PROGRAM, "run", "resnet50", "--input", f"{d}/x.npy", "--output", f"{d}/out", *more], stderr=theirs)
                time.sleep(seconds)
                p.send_signal(signal.SIGINT)
                self.assertEqual(p.wait(timeout=2), 130)
                os.close(theirs)
                if seconds > 2:
                    self.assertIn(b"0/1 resnet50", os.read(ours, 1000))
                os.close(ours)
                self.assertEqual(os.listdir(d), ["x.npy"])

    def test_weights(self):
        """Nothing but zeros, and a bias of one class: it wins."""
        with tempfile.TemporaryDirectory() as d:
            header, at = {}, 0
            for p in json.loads(self.ok("list", "parameters", "--model", "ghostnet_100", "--format", "json")):
                size = 4
                for n in p["shape"]:
                    size *= n
                header[p["name"]] = {"dtype": "F32", "shape": p["shape"], "data_offsets": [at, at + size]}
                at += size
            data = bytearray(at)
            bias = header["classifier.bias"]["data_offsets"][0] + 4 * 7
            data[bias:bias + 4] = b"\0\0\x80\x3f"
            text = json.dumps(header).encode()
            with open(f"{d}/w.safetensors", "wb") as f:
                f.write(len(text).to_bytes(8, "little") + text + data)
            npy(f"{d}/x.npy", (1, 3, 32, 32))
            args = ["run", "ghostnet_100", "--input", f"{d}/x.npy", "--weights", f"{d}/w.safetensors", "--top", "1"]
            self.assertRegex(self.ok(*args), "class 7  score 1 ")
            with open(f"{d}/w.safetensors", "ab") as f:
                f.write(b"x")
            self.refused(*args, says="behind")

    def test_image(self):
        """A grey picture is what its normalized values are as an array."""
        with tempfile.TemporaryDirectory() as d:
            with open(f"{d}/x.ppm", "wb") as f:
                f.write(b"P6 7 5 255\n" + bytes([128]) * 105)
            values = [(128 / 255 - m) / s for m, s in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]]
            npy(f"{d}/x.npy", (1, 3, 224, 224), b"".join(struct.pack("<f", v) * 224 * 224 for v in values))
            result = run("run", "ghostnet_100", "--image", f"{d}/x.ppm")
            if "cannot decode pictures" in result.stderr:
                self.skipTest("built without stb")
            self.assertEqual(result.stdout, self.ok("run", "ghostnet_100", "--input", f"{d}/x.npy"))
            self.assertEqual(len(result.stdout.splitlines()), 5)

    def test_model(self):
        row, = self.rows("model", "ghostnet_100", "--layers", "--passes=-fuse_act", *QUICK)
        self.assertRegex(row["name"], r"^model/ghostnet_100/[a-z0-9]+/t1/mb1$")
        for key in ["images_per_s", "conv_pct_peak", "outside_pct", "time_p99_ns", "err_l2", "bytes", "intensity"]:
            self.assertIn(key, row)
        self.assertLess(row["err_l2"], 1e-5)
        self.assertAlmostEqual(sum(l["share_pct"] for l in row["layers"]), 100)
        self.assertFalse([l for l in row["layers"] if "algorithm" in l and "+relu" in l["problem"]])
        row, = self.rows("model", "ghostnet_100", "--streams", "2", "--no-check", *QUICK)
        self.assertRegex(row["name"], "/t1/mb1/s2$")
        self.assertEqual(row["streams"], 2)

    def test_conv_model(self):
        counts = json.loads(self.ok("list", "models", "--format", "json"))
        model = [m for m in counts if m["name"] == "vgg16"][0]
        names = self.ok("conv", "--model", "vgg16", "--benchmark_list_tests").split()
        self.assertEqual(len(names), model["distinct_convs"])


class Load(Cli):
    share = "--quiet"

    @unittest.skipIf(SANITIZED, "times nothing")
    def test_busy_core(self):
        """Another process on one core: a call on two threads takes less than three times its quiet time, and its row says so."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            self.skipTest("one processor")
        args = ["conv", "mb1ic64ih56oc64oh56kh3ph1n\"load\"", "--threads", "2", "--min-time", "0.4", "--no-check"]
        quiet, = self.rows(*args)
        busy = subprocess.Popen([sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{cpus[1]}])\nwhile True: pass"])
        try:
            time.sleep(0.2)
            row, = self.rows(*args)
            self.assertLess(row["time_p50_ns"], 3 * quiet["time_p50_ns"])
            self.assertTrue(row["disturbed"])
            self.assertEqual(row["grade"], "C")
        finally:
            busy.kill()
            busy.wait()


# unittest asks this for the tests when no case is named; a class without tests (Cli) is an empty suite.
def load_tests(loader, classes, pattern):
    return unittest.TestSuite(test for tests in classes for test in tests if SHARE in (None, test.share))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    SHARE = sys.argv.pop(1) if sys.argv[1:2] in (["--quiet"], ["--plans"], ["--beside"]) else None
    unittest.main()
