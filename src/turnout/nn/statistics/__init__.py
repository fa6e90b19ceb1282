"""Routing statistics: functions over a recorded trace, each with its i.i.d. control.

stats = RoutingStats(); RoutedLayer(..., statistics=stats); …; controlled(srp, stats.trace(), length=16)
"""

from turnout.nn.statistics.affinity import affinity, mutual_information, next_layer_recall
from turnout.nn.statistics.control import Controlled, controlled, resampled
from turnout.nn.statistics.drops import drop_by_position, dropped
from turnout.nn.statistics.load import coefficient_of_variation, dead_experts, load, load_entropy, max_violation
from turnout.nn.statistics.locality import cache_hit_rate, sch, srp
from turnout.nn.statistics.predictability import token_predictability
from turnout.nn.statistics.sparsity import chunk_sparsity, token_sparsity
from turnout.nn.statistics.stability import flips, overlap
from turnout.nn.statistics.tasks import delta_frequency, divergence, npmi, task_information
from turnout.nn.statistics.trace import Trace
from turnout.nn.statistics.weights import effective_support, experts_per_token, score_entropy

__all__ = [
    "Controlled",
    "Trace",
    "affinity",
    "cache_hit_rate",
    "chunk_sparsity",
    "coefficient_of_variation",
    "controlled",
    "dead_experts",
    "delta_frequency",
    "divergence",
    "drop_by_position",
    "dropped",
    "effective_support",
    "experts_per_token",
    "flips",
    "load",
    "load_entropy",
    "max_violation",
    "mutual_information",
    "next_layer_recall",
    "npmi",
    "overlap",
    "resampled",
    "sch",
    "score_entropy",
    "srp",
    "task_information",
    "token_predictability",
    "token_sparsity",
]
