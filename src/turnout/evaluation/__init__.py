"""How well a router does, beside the baselines it must beat: metrics, baselines, protocols, datasets and the report.

>>> from turnout import OutcomeLog, Router, registry
>>> prompts = [f"{'add' if n % 2 else 'name'} item {n} {'+' * (n % 2)} {n * 7919 % 1000}" for n in range(300)]
>>> log = OutcomeLog.from_arrays(prompts, ["sums", "names"], [[n % 2, 1 - n % 2] for n in range(300)])
>>> train, test = log.split(0.6, seed=0)
>>> router = Router.fit(train, estimator=registry.create("estimator", "ridge"))
>>> found = evaluate(router, test, seeds=(0,)).evaluation
>>> [row.name for row in found.rows]
['router', 'random', 'best single', 'prompt length', 'oracle']
>>> found.rows[0].gain.low > 0.3
True
"""

from turnout.evaluation.baselines import BASELINES, Baseline
from turnout.evaluation.protocol import Study, crossval, study
from turnout.evaluation.results import Evaluation, Row
from turnout.evaluation.saved import evaluate

__all__ = ["BASELINES", "Baseline", "Evaluation", "Row", "Study", "crossval", "evaluate", "study"]
