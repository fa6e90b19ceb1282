"""Statistics that every claim rests on: folds, intervals, calibration, off-policy values, near-duplicates."""

from turnout.stats.bootstrap import Interval, bootstrap_counts, bootstrap_mean, bootstrap_ratio, paired_bootstrap
from turnout.stats.calibrators.base import Calibrator, expected_calibration_error
from turnout.stats.calibrators.isotonic import Isotonic
from turnout.stats.calibrators.platt import Platt
from turnout.stats.duplicates import jaccard, near_duplicates, normalise
from turnout.stats.folds import group_folds
from turnout.stats.offpolicy import chances, doubly_robust, effective_sample_size, importance_weights, ips, snips

__all__ = [
    "Calibrator",
    "Interval",
    "Isotonic",
    "Platt",
    "bootstrap_counts",
    "bootstrap_mean",
    "bootstrap_ratio",
    "chances",
    "doubly_robust",
    "effective_sample_size",
    "expected_calibration_error",
    "group_folds",
    "importance_weights",
    "ips",
    "jaccard",
    "near_duplicates",
    "normalise",
    "paired_bootstrap",
    "snips",
]
