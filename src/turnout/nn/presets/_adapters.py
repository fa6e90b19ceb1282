"""Routers made after training, measured beside a real language model: a second table of the presets that are such."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from turnout.errors import UnknownNameError
from turnout.nn.presets._compare import compare
from turnout.systems.base import Figures, Run, System

TABLE = "smollm2-135m"
BAR = 0.1
HIGH, LOW = 100.0, 3.0  # weights of a global view that is sure, and of one that is not
VARIANTS = {
    "phatgoose": "phatgoose",
    "glider": "glider",
    "glider, weight 100": "glider, sure",
    "global alone": "global",
    "arrow": "arrow",
    "mean activations": "mean",
    "average adapter": "average",
    "random adapter": "random",
    "no adapter": "none",
    "oracle adapter": "oracle",
}


def asked_for(system: System, run: Run) -> bool:
    """Whether the run names the language model's table. Raises UnknownNameError for a table that is neither."""
    if run.table not in ("", TABLE, system.table):
        raise UnknownNameError(f"table of {system.name}", run.table, (system.table, TABLE))
    return run.table == TABLE


def on_language_model(system: System, run: Run, *, against: str) -> Figures:
    """The system beside all others on eight tasks of reasoning-gym; reproduced only near the oracle.

    Raises ModelError without the weights, ConfigError without transformers, gguf or reasoning-gym.
    """
    from turnout.nn.beds.small_llm import RECIPE, measured

    names = {system.name: VARIANTS[system.name], **VARIANTS}
    figures = compare(
        system,
        run,
        {name: partial(measured, kind, high=HIGH, low=LOW) for name, kind in names.items()},
        metric="loss",
        against=against,
        table=TABLE,
        protocol=f"SmolLM2-135M, eight LoRA of rank {RECIPE.rank} in its last {RECIPE.layers} layers, each trained "
        f"apart on {RECIPE.train} questions of its own reasoning-gym task for {RECIPE.epochs} epochs, gates of "
        f"{RECIPE.gate_steps} steps, top-2 per token and layer; nats per answer token on {RECIPE.asked} other "
        "questions of each task, means over tasks; held-out: four tasks that no adapter knows, whose oracle is the "
        f"best adapter in hindsight; reproduced only within {BAR:.0%} of the oracle",
    )
    near = float(figures.rows[0]["over the oracle"] or 0) <= BAR
    return figures if near else replace(figures, verdict="not at this size")
