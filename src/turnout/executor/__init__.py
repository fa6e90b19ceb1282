"""The interpreter of plans: the only code that decides when an expert is asked, asked again, or given up.

>>> from turnout.executor import run
>>> run.__name__
'run'
"""

from __future__ import annotations

from turnout.executor.interpreter import RETRYABLE, CallFor, run

__all__ = ["RETRYABLE", "CallFor", "run"]
