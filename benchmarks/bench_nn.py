"""What routing costs inside a network: a routed layer beside one dense network on T·k rows, and beside its peers.

    python benchmarks/bench_nn.py [--quick] [--only cells,memory,decode,model,curves,cuda] [--out docs/figures/nn_speed]

Every figure is a ratio within one run. The contestants of a cell take turns on one thread; a time is the least CPU time
of N turns, so a busy neighbour costs turns and not the figure. `layer` is a whole RoutedLayer (gate, top-k, dispatch,
experts, sum), `experts` the same with the plan given, which is what Hugging Face's experts do; dense is the same SwiGLU
network once, on as many rows as the experts see together; `blocks` is that network expert by expert on rows that lie in
order already, the floor of whoever runs E networks with torch's products. `one expert` is dense by the products that
the layer takes: on AMD's processors with AVX-512 oneDNN's, twice as quick as torch's. `new tokens` is the mean of the
layer's N turns on other tokens each, with other loads, over the mean of dense's: kernels that oneDNN makes for sizes it
has not met count there, in a least time they do not. Memory is the peak of forward and backward above what was there,
without the parameters' gradients (a pool has E times as many); decoding is against reading the chosen experts' weights
once, and `products` are torch's own of those weights with one vector, the better of `linear` and `mv`: the floor of
whoever decodes with torch. glibc is told to keep freed memory (KEEPING), as torch's tuning guide advises by way of
other allocators: by default whoever frees a gradient of over 32 MB pays for its pages again at every step, and a stack
of experts has E times the gradient. MegaBlocks, ScatterMoE and Tutel run beside where they can be imported, all of them
on CUDA. Bars: layer ≤ 1.15 × dense with at least 128 rows for each expert, ≤ 1.3 × under Zipf routing; memory ≤ 1.25 ×;
decoding ≤ 1.2 ×. `--out` writes the curves of cost against E, k, T and d as OUT.svg and OUT.csv.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one core is what is claimed

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from turnout.nn import FFN, LinearGate, Override, Plan, RoutedLayer, RoutingContext, TopK
from turnout.nn.experts._blocked import Rows, blocked_ffn

Call = Callable[[], object]
KEEPING = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000"}  # bytes


@dataclass(frozen=True)
class Shape:
    """T tokens of width d through k of E SwiGLU experts of H hidden units."""

    tokens: int
    width: int
    hidden: int
    experts: int
    k: int
    zipf: bool = False

    @property
    def rows(self) -> int:
        """Rows of each expert, on average."""
        return self.tokens * self.k // self.experts

    def __str__(self) -> str:
        routing = "Zipf" if self.zipf else "learned"
        return f"T={self.tokens} d={self.width} H={self.hidden} E={self.experts} k={self.k} {routing}"


CELLS = (
    Shape(1024, 256, 512, 8, 2),
    Shape(1024, 256, 512, 16, 2),
    Shape(2048, 512, 512, 8, 2),
    Shape(1024, 512, 1024, 16, 2),
    Shape(1024, 1024, 1024, 8, 2),
    Shape(1024, 256, 512, 8, 2, zipf=True),
    Shape(1024, 512, 1024, 16, 2, zipf=True),
    Shape(512, 256, 512, 32, 2),
)
QUICK = (Shape(1024, 256, 512, 8, 2), Shape(512, 512, 1024, 8, 2), Shape(1024, 256, 512, 8, 2, zipf=True))
BASE = Shape(1024, 256, 512, 8, 2)


class Setting:
    """The modules and inputs of one cell; every contestant computes on the same numbers."""

    def __init__(self, shape: Shape, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.shape = shape
        gate, pool = LinearGate(shape.width, shape.experts), FFN(shape.experts, shape.width, shape.hidden)
        self.layer = RoutedLayer(gate, TopK(shape.k), pool).to(device, dtype)
        self.x_TD = torch.randn(shape.tokens, shape.width, device=device, dtype=dtype, requires_grad=True)
        self.grad_TD = torch.randn_like(self.x_TD)
        rows = shape.tokens * shape.k
        self.first = nn.Linear(shape.width, 2 * shape.hidden, bias=False, device=device, dtype=dtype)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False, device=device, dtype=dtype)
        self.rows_ND = torch.randn(rows, shape.width, device=device, dtype=dtype, requires_grad=True)
        self.grad_ND = torch.randn_like(self.rows_ND)
        self.firsts = [weight.detach().clone().requires_grad_() for weight in pool.gate_up_proj.to(device, dtype)]
        self.downs = [weight.detach().clone().requires_grad_() for weight in pool.down_proj.to(device, dtype)]
        self.context = RoutingContext()
        if shape.zipf:
            self.context = RoutingContext(overrides={0: Override(plan=self._zipf())})
        plan = self.layer(self.x_TD, self.context).plan
        self.weights_TK = plan.weights_TK.detach().to(dtype).requires_grad_()
        self.plan = replace(plan, weights_TK=self.weights_TK)

    def _zipf(self) -> Plan:
        """A share of tokens for each expert that falls with its rank."""
        share_E = 1 / torch.arange(1, self.shape.experts + 1, device=self.x_TD.device).float()
        idx_TK = torch.multinomial(share_E.expand(self.shape.tokens, -1), self.shape.k)
        scores_TE = torch.rand(self.shape.tokens, self.shape.experts, device=self.x_TD.device)
        return Plan(idx_TK, scores_TE.gather(1, idx_TK), scores_TE, scores_TE, full=True)

    def dense(self, backward: bool = True) -> None:
        gate_NH, up_NH = self.first(self.rows_ND).chunk(2, -1)
        y_ND = self.down(silu(gate_NH) * up_NH)
        if backward:
            y_ND.backward(self.grad_ND)
        self.first.weight.grad = self.down.weight.grad = self.rows_ND.grad = None

    def alone(self) -> None:
        """The dense network as a pool of one expert, by the products that the layer takes."""
        one_N, all_N = self.weights_TK.new_ones(len(self.rows_ND)), torch.arange(len(self.rows_ND))
        how = Rows(all_N, (len(self.rows_ND),), "silu", gated=True)
        y_ND = blocked_ffn(self.rows_ND, one_N, self.first.weight[None], self.down.weight[None], how)
        y_ND.backward(self.grad_ND)
        self.first.weight.grad = self.down.weight.grad = self.rows_ND.grad = None

    def blocks(self) -> None:
        each = zip(self.rows_ND.split(self.plan.counts_E.tolist()), self.firsts, self.downs, strict=True)
        hidden = [(rows @ first.T, down) for rows, first, down in each]
        made = [(silu(gate) * up) @ down.T for (gate, up), down in ((both.chunk(2, -1), down) for both, down in hidden)]
        torch.cat(made).backward(self.grad_ND)
        for weight in (*self.firsts, *self.downs, self.rows_ND):
            weight.grad = None

    def routed(self, backward: bool = True) -> None:
        self._finish(self.layer(self.x_TD, self.context).output, backward)

    def experts(self, backward: bool = True) -> None:
        self._finish(self.layer.dispatcher.weighted(self.x_TD, self.plan, self.layer.experts), backward)

    def hugging_face(self, how: str) -> Call | None:
        """Hugging Face's OLMoE experts on the same weights, or None where transformers is not installed."""
        if importlib.util.find_spec("transformers") is None:
            return None
        from transformers import OlmoeConfig
        from transformers.models.olmoe.modeling_olmoe import OlmoeExperts

        from turnout.nn.hub import register

        register()
        shape = self.shape
        config = OlmoeConfig(
            num_experts=shape.experts, hidden_size=shape.width, intermediate_size=shape.hidden, hidden_act="silu"
        )
        config._experts_implementation = how
        module = OlmoeExperts(config).to(self.x_TD)
        module.gate_up_proj, module.down_proj = self.layer.experts.gate_up_proj, self.layer.experts.down_proj
        return lambda: self._finish(module(self.x_TD, self.plan.idx_TK, self.weights_TK), True)

    def _finish(self, y_TD: Tensor, backward: bool) -> None:
        if backward:
            y_TD.backward(self.grad_TD)
            self.layer.zero_grad()
            self.x_TD.grad = self.weights_TK.grad = None


def timed(calls: dict[str, Call], *, turns: int, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """Least seconds of each call; they take turns."""
    least = dict.fromkeys(calls, float("inf"))
    for turn in range(turns + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if turn:
                least[name] = min(least[name], clock() - start)
    return least


def cell(shape: Shape, turns: int, *, peers: bool = True) -> dict[str, Any]:
    """Times of one shape over dense."""
    setting = Setting(shape)
    calls: dict[str, Call] = {"dense": setting.dense, "layer": setting.routed, "blocks": setting.blocks}
    if peers:
        calls |= {"experts": setting.experts, "one expert": setting.alone}
        found = {f"transformers {how}": setting.hugging_face(how) for how in ("eager", "grouped_mm", "turnout")}
        calls |= {name: call for name, call in found.items() if call is not None}
    least = timed(calls, turns=turns)
    ratios = {name: seconds / least["dense"] for name, seconds in least.items() if name != "dense"}
    if peers:
        ratios["new tokens"] = fresh(setting, turns)
    return {"shape": str(shape), "rows": shape.rows, "dense_ms": 1e3 * least["dense"], **ratios}


def fresh(setting: Setting, turns: int) -> float:
    """Mean time of the layer over dense's, each turn on other tokens; with other loads where the gate chooses."""
    seconds = {"dense": 0.0, "layer": 0.0}
    for _ in range(turns):
        shift_D = torch.randn(setting.shape.width, device=setting.x_TD.device) / 2
        setting.x_TD = (torch.randn_like(setting.x_TD) + shift_D).requires_grad_()
        for name, call in (("dense", setting.dense), ("layer", setting.routed)):
            start = time.process_time()
            call()
            seconds[name] += time.process_time() - start
    return seconds["layer"] / seconds["dense"]


def peak(call: Call) -> int:
    """Most bytes above the start that a call holds at a time, by the allocator's own events."""
    from torch.profiler import ProfilerActivity, profile

    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def memory(shape: Shape) -> dict[str, Any]:
    """Peak of forward and backward over dense, each without its parameters' gradients."""
    setting = Setting(shape)

    def size(modules: Iterable[nn.Module]) -> int:
        return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())

    dense = peak(setting.dense) - size([setting.first, setting.down])
    layer = peak(setting.routed) - size([setting.layer])
    return {"shape": str(shape), "dense_mb": dense / 2**20, "layer_mb": layer / 2**20, "ratio": layer / dense}


def decode(turns: int, width: int = 1024, hidden: int = 512, experts: int = 64, k: int = 8) -> dict[str, Any]:
    """One token against reading the weights of its experts: their sum, which a core makes as fast as it reads."""
    setting = Setting(Shape(1, width, hidden, experts, k))
    layer, x_TD = setting.layer.eval(), setting.x_TD.detach()
    pool, chosen = layer.experts, setting.plan.idx_TK[0].tolist()
    x_D, hidden_H = x_TD[0], torch.randn(hidden)

    def read() -> None:
        for expert in chosen:
            pool.gate_up_proj[expert].sum()
            pool.down_proj[expert].sum()

    def products(product: Callable[[Tensor, Tensor], Tensor]) -> None:
        for expert in chosen:
            product(pool.gate_up_proj[expert], x_D)
        for expert in chosen:
            product(pool.down_proj[expert], hidden_H)

    calls: dict[str, Call] = {"read": read, "layer": lambda: layer(x_TD)}
    calls["linear"] = lambda: products(lambda weight, row: linear(row, weight))
    calls["mv"] = lambda: products(torch.mv)
    if shutil.which(os.environ.get("CXX", "g++")):  # which torch's compiler asks for
        compiled = torch.compile(layer)
        calls["compiled"] = lambda: compiled(x_TD)
    with torch.no_grad():
        least = timed(calls, turns=turns)
    size = k * 3 * width * hidden * 4
    return {
        "shape": f"T=1 d={width} H={hidden} E={experts} k={k}",
        "read_ms": 1e3 * least["read"],
        "gb_per_s": size / least["read"] / 1e9,
        "layer_ms": 1e3 * least["layer"],
        "ratio": least["layer"] / least["read"],
        "products": min(least["linear"], least["mv"]) / least["read"],
        "compiled": least.get("compiled", float("nan")) / least["read"],
    }


def model(turns: int) -> list[dict[str, Any]]:
    """A whole OLMoE of random weights under transformers: our backend over its own ones."""
    if importlib.util.find_spec("transformers") is None:
        return []
    import transformers

    from turnout.nn.hub import register

    sizes = {"hidden_size": 512, "intermediate_size": 512, "num_experts": 16, "num_experts_per_tok": 4}
    shape = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 1000}
    torch.manual_seed(0)
    olmoe = transformers.OlmoeForCausalLM(transformers.OlmoeConfig(**sizes, **shape, eos_token_id=None))
    ids = torch.randint(1000, (4, 256))

    def train(how: str) -> None:
        olmoe.set_experts_implementation(how)
        olmoe.zero_grad()
        olmoe(ids, labels=ids).loss.backward()

    def read(how: str) -> None:
        olmoe.set_experts_implementation(how)
        with torch.no_grad():
            olmoe(ids)

    found = []
    for name, step in (("forward + backward", train), ("forward", read)):
        calls = {how: partial(step, how) for how in ("eager", "grouped_mm", register())}
        least = timed(calls, turns=turns)
        ratios = {f"over {how}": least["turnout"] / least[how] for how in ("eager", "grouped_mm")}
        found.append({"1,024 tokens, 4 layers": name, "turnout_s": least["turnout"], **ratios})
    return found


def curves(turns: int, quick: bool) -> list[dict[str, Any]]:
    """Cost over dense along each size, the others as in BASE."""
    along = {
        "experts": (4, 8, 16, 32, 64),
        "k": (1, 2, 4, 8),
        "tokens": (128, 512, 1024, 2048, 4096),
        "width": (64, 128, 256, 512),
    }
    found = []
    for name, sizes in along.items():
        for size in sizes[1:-1] if quick else sizes:
            shape = replace(BASE, **{name: size})
            if name == "width":
                shape = replace(shape, hidden=2 * size)
            measured = cell(shape, turns, peers=False)
            found.append(
                {
                    "along": name,
                    **dict(zip(("T", "d", "H", "E", "k"), astuple(shape)[:5], strict=True)),
                    "dense_ms": measured["dense_ms"],
                    "layer": measured["layer"],
                    "blocks": measured["blocks"],
                }
            )
    return found


def draw(found: list[dict[str, Any]], out: Path) -> None:
    """OUT.csv and OUT.svg."""
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in found)
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(13, 3), sharey=True, layout="constrained")
    letters = {"experts": "E", "k": "k", "tokens": "T", "width": "d"}
    for axis, (name, letter) in zip(axes, letters.items(), strict=True):
        rows = [row for row in found if row["along"] == name]
        for column, label in (("layer", "routed layer"), ("blocks", "its networks one by one")):
            axis.plot([row[letter] for row in rows], [row[column] for row in rows], marker="o", label=label)
        axis.axhline(1.15, color="grey", linestyle=":")
        axis.set(xscale="log", xlabel=letter)
        axis.set_xticks([row[letter] for row in rows], [str(row[letter]) for row in rows], minor=False)
        axis.minorticks_off()
    axes[0].set_ylabel("forward + backward over dense")
    axes[0].legend(frameon=False)
    figure.suptitle(f"Cost of a routed layer, one thread, float32; otherwise {BASE}", fontsize=10)
    figure.savefig(out.with_suffix(".svg"), metadata={"Date": None})


def cuda(turns: int) -> list[dict[str, Any]]:
    """bfloat16 on a GPU: TFLOP/s of dense and of the layer, forward and backward."""
    found = []
    for experts in (8, 32, 128):
        for tokens in (1024, 8192, 65536):
            shape = Shape(tokens, 2048, 1024, experts, 8 if experts > 8 else 2)
            setting = Setting(shape, "cuda", torch.bfloat16)

            def clock() -> float:
                torch.cuda.synchronize()
                return time.perf_counter()

            calls = {"dense": setting.dense, "layer": setting.routed, "experts": setting.experts}
            calls |= _cuda_peers(setting)
            least = timed(calls, turns=turns, clock=clock)
            work = 18 * tokens * shape.k * shape.width * shape.hidden
            tera = {f"{name}_tflops": work / seconds / 1e12 for name, seconds in least.items()}
            found.append({"shape": str(shape), **tera, "ratio": least["layer"] / least["dense"]})
    return found


def _cuda_peers(setting: Setting) -> dict[str, Call]:
    """Peers that can be imported, on the same plan."""
    calls = {}
    if (call := setting.hugging_face("grouped_mm")) is not None:
        calls["transformers grouped_mm"] = call
    if importlib.util.find_spec("scattermoe") is not None:
        from scattermoe.mlp import GLUMLP

        shape = setting.shape
        module = GLUMLP(shape.width, shape.hidden, shape.experts, shape.k, activation=nn.SiLU()).to(setting.x_TD)
        calls["scattermoe"] = lambda: setting._finish(
            module(setting.x_TD, setting.weights_TK, setting.plan.idx_TK), True
        )
    return calls


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A table on standard output."""
    if not rows:
        return
    print(f"\n{title}")
    columns = list(rows[0])
    text = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in (row.get(c, "") for c in columns)] for row in rows]
    widths = [max(len(line[n]) for line in [columns, *text]) for n in range(len(columns))]
    for line in [columns, *text]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main() -> None:
    """Measure, print, and write the curves."""
    if not KEEPING.keys() <= os.environ.keys():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEPING})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    parser.add_argument("--only", default="cells,memory,decode,model,curves,cuda", help="parts, with commas")
    parser.add_argument("--turns", type=int, help="turns of each contestant")
    parser.add_argument("--out", type=Path, help="files OUT.svg and OUT.csv of the curves")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    turns, parts = options.turns or (7 if options.quick else 20), options.only.split(",")
    shapes = QUICK if options.quick else CELLS
    found: dict[str, list[dict[str, Any]]] = {}
    if "cells" in parts:
        found["forward + backward over dense (bars 1.15 with 128 rows, 1.3 under Zipf)"] = [
            cell(s, turns) for s in shapes
        ]
    if "memory" in parts:
        found["peak memory (bar 1.25)"] = [memory(s) for s in shapes]
    if "decode" in parts:
        sizes = [(2048, 1024, 64, 8), (1024, 512, 64, 8), (512, 1024, 8, 2)]  # the first is OLMoE's layer
        found["decoding one token (bar 1.2)"] = [decode(5 * turns, *size) for size in sizes]
    if "model" in parts:
        found["a whole OLMoE of transformers, our experts backend"] = model(max(3, turns // 4))
    if "curves" in parts:
        made = curves(max(3, turns // 2), options.quick)
        found["curves"] = made
        if options.out:
            draw(made, options.out)
    if "cuda" in parts and torch.cuda.is_available():
        found["CUDA, bfloat16"] = cuda(turns)
    absent = [name for name in ("megablocks", "scattermoe", "tutel") if importlib.util.find_spec(name) is None]
    if options.json:
        print(json.dumps({"torch": torch.__version__, "absent": absent, **found}))
        return
    for title, rows in found.items():
        show(title, rows)
    print(
        f"\ntorch {torch.__version__}, one thread, least of {turns} turns; not installed: {', '.join(absent) or 'none'}"
    )


if __name__ == "__main__":
    main()
