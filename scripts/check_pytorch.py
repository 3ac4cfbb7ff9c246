#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the networks with PyTorch float64 on identical synthetic weights.

The networks are written plainly here, from the papers; parameters come from the generator that models/models.h states (mean
and scale from `backbench list parameters`), so nothing but the names is shared with the C code. With --write the results are
also kept as small records in tests/golden/, which tests/test_models.c compares both executors with.

Needs python3-torch and python3-numpy (Debian's); run as  scripts/check_pytorch.py [--backbench build/backbench] [--write] [NET...]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

SEED = 1
BOUND = 1e-5
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
U64 = np.uint64


# ---- values ----------------------------------------------------------------------------------------------------------

def mix(z):
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


def random_fill(count, seed, name, mean, scale):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & (2**64 - 1)
    key = mix(np.array([(seed + h) & (2**64 - 1)], U64))
    r = mix(key + np.arange(1, count + 1, dtype=U64) * U64(0x9E3779B97F4A7C15))
    s = sum(((r >> U64(k)) & U64(0xFFFF)).astype(np.int64) for k in (0, 16, 32, 48)) - 131070
    return (mean + s * (scale / 37837)).astype(np.float32)


class Params:
    """The synthetic parameters of one network, made when first asked for."""

    def __init__(self, backbench, net):
        text = subprocess.run([backbench, "list", "parameters", "--model", net, "--format", "json"], check=True,
                              stdout=subprocess.PIPE).stdout
        rows = json.loads(text)
        rows = rows if isinstance(rows, list) else next(v for v in rows.values() if isinstance(v, list))
        self.rows = {row["name"]: row for row in rows}
        self.made = {}

    def __call__(self, name):
        if name not in self.made:
            row = self.rows[name]
            shape = row["shape"]
            if isinstance(shape, str):
                shape = [int(n) for n in shape.split("x")]
            values = random_fill(int(np.prod(shape)), SEED, name, float(row["mean"]), float(row["scale"]))
            self.made[name] = torch.from_numpy(values.astype(np.float64).reshape(shape))
        return self.made[name]

    def has(self, name):
        return name in self.rows


# ---- modules ---------------------------------------------------------------------------------------------------------

class Net:
    def __init__(self, p):
        self.p = p

    def conv(self, x, name, stride=1, pad=None, groups=1):
        w = self.p(name + ".weight")
        b = self.p(name + ".bias") if self.p.has(name + ".bias") else None
        return F.conv2d(x, w, b, stride, (w.shape[2] // 2, w.shape[3] // 2) if pad is None else pad, 1, groups)

    def bn(self, x, name, eps=1e-5):
        p = self.p
        return F.batch_norm(x, p(name + ".running_mean"), p(name + ".running_var"), p(name + ".weight"), p(name + ".bias"),
                            False, 0, eps)

    def fc(self, x, name):
        return F.linear(x, self.p(name + ".weight"), self.p(name + ".bias"))


def vgg(n, x, convs):
    i = 0
    for count in convs:
        for _ in range(count):
            x = F.relu(n.conv(x, f"features.{i}"))
            i += 2
        x = F.max_pool2d(x, 2)
        i += 1
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    x = F.relu(n.fc(x, "classifier.0"))
    x = F.relu(n.fc(x, "classifier.3"))
    return [n.fc(x, "classifier.6")]


def resnet50_body(n, x, prefix):
    x = F.max_pool2d(F.relu(n.bn(n.conv(x, prefix + "conv1", 2), prefix + "bn1")), 3, 2, 1)
    out = []
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            b = f"{prefix}layer{stage}.{block}."
            stride = 2 if stage > 1 and block == 0 else 1
            y = F.relu(n.bn(n.conv(x, b + "conv1"), b + "bn1"))
            y = F.relu(n.bn(n.conv(y, b + "conv2", stride), b + "bn2"))
            y = n.bn(n.conv(y, b + "conv3"), b + "bn3")
            if block == 0:
                x = n.bn(n.conv(x, b + "downsample.0", stride), b + "downsample.1")
            x = F.relu(x + y)
        out.append(x)
    return out


def resnet50(n, x):
    return [n.fc(F.adaptive_avg_pool2d(resnet50_body(n, x, "")[3], 1).flatten(1), "fc")]


def fpn_resnet50(n, x):
    c = resnet50_body(n, x, "resnet.")
    m = [n.conv(c[i], f"C{i + 2}toM{i + 2}") for i in range(4)]
    for i in (2, 1, 0):
        m[i] = m[i] + F.interpolate(m[i + 1], size=m[i].shape[2:], mode="bilinear", align_corners=True)
    return [n.conv(t, "MtoP") for t in m]


def densenet121(n, x):
    x = F.relu(n.bn(n.conv(x, "features.conv0", 2), "features.norm0"))
    x = F.max_pool2d(x, 3, 2, 1)
    for block, layers in enumerate((6, 12, 24, 16), 1):
        for layer in range(1, layers + 1):
            d = f"features.denseblock{block}.denselayer{layer}."
            y = n.conv(F.relu(n.bn(x, d + "norm1")), d + "conv1")
            y = n.conv(F.relu(n.bn(y, d + "norm2")), d + "conv2")
            x = torch.cat([x, y], 1)
        if block < 4:
            t = f"features.transition{block}."
            x = F.avg_pool2d(n.conv(F.relu(n.bn(x, t + "norm")), t + "conv"), 2)
    x = F.relu(n.bn(x, "features.norm5"))
    return [n.fc(F.adaptive_avg_pool2d(x, 1).flatten(1), "classifier")]


GHOST = [  # kernel, expansion, out, SE, stride
    [(3, 16, 16, 0, 1)], [(3, 48, 24, 0, 2)], [(3, 72, 24, 0, 1)], [(5, 72, 40, 1, 2)], [(5, 120, 40, 1, 1)],
    [(3, 240, 80, 0, 2)],
    [(3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 1, 1), (3, 672, 112, 1, 1)],
    [(5, 672, 160, 1, 2)], [(5, 960, 160, 0, 1), (5, 960, 160, 1, 1), (5, 960, 160, 0, 1), (5, 960, 160, 1, 1)]]


def ghostnet_100(n, x):
    def ghost(x, name, out, relu):
        act = F.relu if relu else (lambda t: t)
        a = act(n.bn(n.conv(x, name + ".primary_conv.0"), name + ".primary_conv.1"))
        b = act(n.bn(n.conv(a, name + ".cheap_operation.0", groups=a.shape[1]), name + ".cheap_operation.1"))
        return torch.cat([a, b], 1)[:, :out]

    x = F.relu(n.bn(n.conv(x, "conv_stem", 2), "bn1"))
    for stage, blocks in enumerate(GHOST):
        for block, (_, expansion, out, se, stride) in enumerate(blocks):
            b = f"blocks.{stage}.{block}."
            y = ghost(x, b + "ghost1", expansion, True)
            if stride > 1:
                y = n.bn(n.conv(y, b + "conv_dw", stride, groups=expansion), b + "bn_dw")
            if se:
                s = F.relu(n.conv(y.mean((2, 3), keepdim=True), b + "se.conv_reduce"))
                y = y * (F.relu6(n.conv(s, b + "se.conv_expand") + 3) / 6)
            y = ghost(y, b + "ghost2", out, False)
            if n.p.has(b + "shortcut.0.weight"):
                x = n.bn(n.conv(x, b + "shortcut.0", stride, groups=x.shape[1]), b + "shortcut.1")
                x = n.bn(n.conv(x, b + "shortcut.2"), b + "shortcut.3")
            x = x + y
    x = F.relu(n.bn(n.conv(x, "blocks.9.0.conv"), "blocks.9.0.bn1"))
    x = F.relu(n.conv(x.mean((2, 3), keepdim=True), "conv_head"))
    return [n.fc(x.flatten(1), "classifier")]


NETS = {
    "vgg16": lambda n, x: vgg(n, x, (2, 2, 3, 3, 3)),
    "vgg19": lambda n, x: vgg(n, x, (2, 2, 4, 4, 4)),
    "resnet50": resnet50,
    "densenet121": densenet121,
    "ghostnet_100": ghostnet_100,
    "fpn_resnet50": fpn_resnet50,
}
CASES = [(1, 224, 224), (3, 75, 97)]


# ---- comparison ------------------------------------------------------------------------------------------------------

def run_backbench(backbench, net, x, extra):
    with tempfile.TemporaryDirectory() as d:
        np.save(os.path.join(d, "x.npy"), x)
        subprocess.run([backbench, "run", net, "--input", os.path.join(d, "x.npy"), "--output", d, "--seed", str(SEED)] + extra,
                       check=True, stdout=subprocess.DEVNULL)
        names = sorted((f for f in os.listdir(d) if f.startswith("output_")), key=lambda f: int(f[7:-4]))
        return [np.load(os.path.join(d, f)) for f in names]


def record(lines, net, outputs, case):
    """Sampled outputs of one case, and their norms: enough to notice any wrong layer."""
    lines.append("case %d %d %d %d" % (*case, len(outputs)))
    for i, y in enumerate(outputs):
        y = y.reshape(-1)
        samples = min(y.size, 128 if len(outputs) == 1 else 64)
        at = np.unique(np.concatenate([[0, y.size - 1], np.random.RandomState(i).choice(y.size, samples - 2, False)]))
        lines.append("output %d %d %.17g %d" % (i, y.size, np.linalg.norm(y), at.size))
        lines += ["%d %.15g" % (k, y[k]) for k in at]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbench", default=os.path.join(ROOT, "build", "backbench"))
    parser.add_argument("--write", action="store_true", help="write tests/golden/NET.txt")
    parser.add_argument("--no-run", action="store_true", help="do not compare with `backbench run`")
    parser.add_argument("net", nargs="*", default=list(NETS))
    args = parser.parse_args()
    unknown = [name for name in args.net if name not in NETS]
    if unknown:
        parser.error("unknown network %s, expected some of %s" % (unknown[0], " ".join(NETS)))
    torch.set_grad_enabled(False)
    wrong = False
    for name in args.net:
        net = Net(Params(args.backbench, name))
        lines = ["# Outputs of PyTorch %s, float64, seed %d: scripts/check_pytorch.py --write" % (torch.__version__, SEED)]
        for case in CASES:
            x = random_fill(case[0] * 3 * case[1] * case[2], SEED, "input", 0, 1).reshape(case[0], 3, *case[1:])
            want = [y.numpy() for y in NETS[name](net, torch.from_numpy(x.astype(np.float64)))]
            record(lines, name, want, case)
            for what, extra in [] if args.no_run else [("fast", []), ("reference", ["--reference"])]:
                got = run_backbench(args.backbench, name, x, extra)
                for i, (g, w) in enumerate(zip(got, want)):
                    e = np.linalg.norm(g.reshape(-1).astype(np.float64) - w.reshape(-1)) / np.linalg.norm(w)
                    ok = g.size == w.size and len(got) == len(want) and e <= BOUND
                    wrong |= not ok
                    print("%-14s mb%d %dx%d output %d %-9s E2 %.2e %s" % (name, *case, i, what, e, "ok" if ok else "WRONG"),
                          flush=True)
        if args.write:
            path = os.path.join(ROOT, "tests", "golden", name + ".txt")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path + ".tmp", "w") as f:
                f.write("\n".join(lines) + "\n")
            os.replace(path + ".tmp", path)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
