"""Gates for experts that were trained apart: fitted openings, principal directions, mean activations.

Each works layer by layer on `VectorGate`s and changes nothing else; choose the gate's `score` to match: `standard` for
`fit_gates`, `absolute` for `arrow_gates`, `cosine` for `mean_gates`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from turnout.errors import ParameterError, RoutingError
from turnout.nn.adapters.attach import adapted
from turnout.nn.adapters.layer import AdaptedLinear, routing
from turnout.nn.gates.vector_gate import VectorGate

Owned = tuple[int | Tensor, Any]
"""A batch and the expert it belongs to: one number, or one per sequence."""


def fit_gates(
    model: nn.Module, batches: Iterable[Owned], loss: Callable[[nn.Module, Any], Tensor], *, rate: float = 1e-3
) -> list[float]:
    """Fit one gate vector per expert and layer, everything else frozen; the loss of each step (PHATGOOSE).

    Each batch passes its own expert alone, whose output is multiplied by σ(v · x); Adam moves v. No expert sees
    another's data. The published run is about 100 steps an expert at rate 1e-3.

    Source: Muqeeth et al., 2024. Raises RoutingError where a gate is no VectorGate.
    """
    gates = [_gate(layer) for layer in adapted(model).values()]
    if not gates:
        raise RoutingError("the model has no adapters; call `attach` first")
    kept = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    vectors = [gate.vectors.requires_grad_(True) for gate in gates]
    optimizer = torch.optim.Adam(vectors, lr=rate)
    found = []
    try:
        for expert, batch in batches:
            with routing(model, expert=expert, opened=True):
                value = loss(model, batch)
                optimizer.zero_grad()
                torch.autograd.backward(value)
            optimizer.step()
            found.append(float(value.detach()))
    finally:
        for parameter, trained in kept.items():
            parameter.requires_grad_(trained)
            parameter.grad = None
    if not found:
        raise ParameterError("fit_gates needs at least one batch")
    return found


@torch.no_grad()
def arrow_gates(model: nn.Module) -> None:
    """Each expert's vector becomes the direction its matrix answers to most: the top right singular vector of B A.

    Needs no data. Source: Ostapenko et al., "Towards Modular LLMs by Building and Reusing a Library of LoRAs", 2024.
    Limits: that direction need not be one that the expert's own inputs show more than others' do; beside SmolLM2-135M
    gates fitted on data do far better (`turnout systems run phatgoose --table smollm2-135m`, docs/nn.md).
    """
    for layer in adapted(model).values():
        gate, pool = _gate(layer), layer.layer.experts
        a_ERD, b_EOR = getattr(pool, "lora_A", None), getattr(pool, "lora_B", None)
        if a_ERD is None or b_EOR is None:
            raise RoutingError(f"arrow_gates needs LoRA experts, got {type(pool).__name__}")
        q_EDR, r_ERR = torch.linalg.qr(a_ERD.float().transpose(1, 2))  # B A = (B Rᵀ) Qᵀ: only an [O, R] matrix is split
        right_ERR = torch.linalg.svd(b_EOR.float() @ r_ERR.transpose(1, 2), full_matrices=False).Vh
        gate.vectors.copy_((q_EDR @ right_ERR[:, 0, :, None])[..., 0])


@torch.no_grad()
def mean_gates(model: nn.Module, batches: Iterable[Owned], forward: Callable[[nn.Module, Any], Any]) -> None:
    """Each expert's vector becomes the mean input of the layer over that expert's own data, padding left out."""
    layers = adapted(model)
    if not layers:
        raise RoutingError("the model has no adapters; call `attach` first")
    sums = {name: torch.zeros_like(_gate(layer).vectors) for name, layer in layers.items()}
    tokens = {name: torch.zeros(layer.layer.experts.experts) for name, layer in layers.items()}

    def gather(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], _: Tensor) -> None:
            assert isinstance(module, AdaptedLinear)
            assert module.last is not None
            plan, x_TD = module.last.plan, args[0].reshape(-1, args[0].shape[-1])
            real_T = plan.mask_TK[:, 0]
            expert_T, x_TD = plan.idx_TK[real_T, 0], x_TD[real_T]
            sums[name].index_add_(0, expert_T, x_TD.to(sums[name]))
            tokens[name] += expert_T.bincount(minlength=len(tokens[name])).cpu()

        return hook

    hooks = [layer.register_forward_hook(gather(name)) for name, layer in layers.items()]
    try:
        for expert, batch in batches:
            with routing(model, expert=expert):
                forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    for name, layer in layers.items():
        if not bool(tokens[name].all()):
            missing = int((tokens[name] == 0).nonzero()[0, 0])
            raise ParameterError(f"mean_gates needs data of every expert; expert {missing} had none")
        _gate(layer).vectors.copy_(sums[name] / tokens[name].to(sums[name])[:, None])


def _gate(layer: AdaptedLinear) -> VectorGate:
    gate = layer.layer.gate
    if not isinstance(gate, VectorGate):
        raise RoutingError(f"gates made after training need a VectorGate, got {type(gate).__name__}")
    return gate
