"""Decentralized diffusion models: flows trained apart on clusters of the data, mixed by a router's posterior.

Source: McAllister et al., "Decentralized Diffusion Models", CVPR 2025 (arXiv 2501.05450); no code of the authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["DECENTRALIZED_DIFFUSION"]

CLUSTERS, HIDDEN, STEPS, BATCH = 8, 96, 1600, 128
TIME = 16  # features of the time


def _build() -> Mapping[str, Any]:
    from turnout.nn import LinearGate, Modules, PosteriorMix, RoutedLayer, Soft
    from turnout.nn.beds.digits import network

    experts = Modules([network(64 + TIME, HIDDEN, 64) for _ in range(CLUSTERS)])
    return {"layer": RoutedLayer(LinearGate(64 + TIME, CLUSTERS), Soft(), experts, combiner=PosteriorMix())}


def _flow(data_ND: Tensor, steps: int, seed: int) -> nn.Module:
    import torch
    from torch.nn import functional as F

    from turnout.nn.beds.digits import descend, flowed, network

    torch.manual_seed(seed)
    model, generator = network(64 + TIME, HIDDEN, 64), torch.Generator().manual_seed(seed)

    def loss(index_B: Tensor) -> Tensor:
        x_BD, time_BF, velocity_BD = flowed(data_ND[index_B], generator)
        return F.mse_loss(model(torch.cat([x_BD, time_BF], dim=-1)), velocity_BD)

    descend(model, loss, len(data_ND), seed=seed, steps=steps, batch=BATCH)
    return model


def _router(data_ND: Tensor, cluster_N: Tensor, seed: int) -> nn.Module:
    """Classifies the cluster from a noisy image and its time."""
    import torch
    from torch.nn import functional as F

    from turnout.nn.beds.digits import descend, flowed, network

    torch.manual_seed(seed)
    model, generator = network(64 + TIME, HIDDEN, CLUSTERS), torch.Generator().manual_seed(seed)

    def loss(index_B: Tensor) -> Tensor:
        x_BD, time_BF, _ = flowed(data_ND[index_B], generator)
        return F.cross_entropy(model(torch.cat([x_BD, time_BF], dim=-1)), cluster_N[index_B])

    descend(model, loss, len(data_ND), seed=seed, steps=STEPS // 4, batch=BATCH)
    return model


def _trained(seed: int) -> Mapping[str, Mapping[str, float]]:
    """Every variant on one seed: they share the router and the experts."""
    import torch
    from sklearn.cluster import KMeans

    from turnout.nn.beds.digits import digits, flowed

    found = digits(seed)
    data_ND = 2 * found.train_ND - 1
    labels_N = KMeans(CLUSTERS, n_init=4, random_state=seed).fit_predict(data_ND.numpy())
    cluster_N = torch.from_numpy(labels_N).long()
    experts = [_flow(data_ND[cluster_N == one], STEPS // CLUSTERS, seed) for one in range(CLUSTERS)]
    router, single = _router(data_ND, cluster_N, seed), _flow(data_ND, STEPS, seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        x_ND, time_NF, velocity_ND = flowed((2 * found.test_ND - 1).repeat(8, 1), generator)
        seen_ND = torch.cat([x_ND, time_NF], dim=-1)
        p_NK = router(seen_ND).softmax(-1)
        each_NKD = torch.stack([expert(seen_ND) for expert in experts], 1)
        flows = {
            "posterior mix": (p_NK[..., None] * each_NKD).sum(1),
            "top-1 expert": each_NKD[torch.arange(len(p_NK)), p_NK.argmax(-1)],
            "uniform mix": each_NKD.mean(1),
            "one model": single(seen_ND),
        }
    return {name: {"flow loss": float((flow - velocity_ND).square().mean())} for name, flow in flows.items()}


def _measure(system: System, run: Run) -> Figures:
    found: dict[int, Mapping[str, Mapping[str, float]]] = {}

    def variant(name: str, seed: int) -> Mapping[str, float]:
        if seed not in found:
            found[seed] = _trained(seed)
        return found[seed][name]

    names = ("posterior mix", "top-1 expert", "uniform mix", "one model")
    return compare(
        system,
        run,
        {name: partial(variant, name) for name in names},
        metric="flow loss",
        against="one model",
        table="rectified flow on digits",
        protocol=f"held-out digits at random times; {CLUSTERS} experts of {STEPS // CLUSTERS} steps each on their own "
        f"cluster, one model of {STEPS} steps on all; the router's {STEPS // 4} steps come on top",
    )


DECENTRALIZED_DIFFUSION = System(
    name="decentralized_diffusion",
    number=73,
    title="Decentralized diffusion models",
    level="in-model",
    claim=Claim(
        "Flows trained apart on clusters of the data and mixed by a router outperform one model FLOP for FLOP on "
        "ImageNet and LAION Aesthetics.",
        "abstract",
    ),
    parts=("gate:linear_gate", "selector:soft", "experts:modules", "combiner:posterior_mix"),
    novelty="training",
    build=_build,
    measure=_measure,
    table="rectified flow on digits",
    deviations=(
        "Clusters come from pixels, not from a pretrained encoder's features.",
        "The measured router is a network of one hidden layer over image and time; the layer of `build` shows a linear "
        "one.",
    ),
    limits=(
        "The mix of all experts costs as many passes as there are experts; the top expert alone is cheaper, not exact.",
    ),
)
