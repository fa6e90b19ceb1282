"""Pools of small experts beside the linear layers of a loaded model, with a gate each; the model itself is frozen.

    pool = Pool(experts=8, gate="vector_gate", options={"experts": {"rank": 8}})
    attach(model, r"(q|v)_proj$", pool)          # by name or by a predicate
    with routing(model, task=ids): ...           # what only the caller knows about a pass
    save(model, folder), load(model, folder), merge(model, expert=0), detach(model)

Adapters of PEFT's LoRA layout come in as experts (`load_peft`, `attach_peft`) and go out again (`save_peft`). Gates can
be made after the experts were trained apart: `fit_gates`, `arrow_gates`, `mean_gates`. `turnout.nn.losses(model)` holds
the balancing losses of the last pass; nothing is added to a loss silently.
"""

from __future__ import annotations

from turnout.nn.adapters.attach import Pool, adapted, attach, detach, merge
from turnout.nn.adapters.layer import AdaptedLinear, routing
from turnout.nn.adapters.peft import attach_peft, load_peft, save_peft
from turnout.nn.adapters.posthoc import arrow_gates, fit_gates, mean_gates
from turnout.nn.adapters.protect import Protected
from turnout.nn.adapters.storage import load, save

__all__ = [
    "AdaptedLinear",
    "Pool",
    "Protected",
    "adapted",
    "arrow_gates",
    "attach",
    "attach_peft",
    "detach",
    "fit_gates",
    "load",
    "load_peft",
    "mean_gates",
    "merge",
    "routing",
    "save",
    "save_peft",
]
