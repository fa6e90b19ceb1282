"""Public outcome tables as logs, read from a folder of the user's: `--data DIR` or the variable TURNOUT_DATA.

Nothing is shipped and nothing is fetched: each entry says where its table comes from and under which licence. A table
is a sub-folder with `outcomes.parquet` (`query_id, expert, score, …`) and mostly `queries.parquet` (`query_id, task,
prompt`). Prompt tokens are counted with the shipped WordPiece tokenizer wherever a source has no counts of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from turnout.errors import ConfigError, LogError, UnknownNameError
from turnout.features import Floats

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

VARIABLE = "TURNOUT_DATA"
TOKENIZER = "the shipped WordPiece tokenizer"
ROUTELLM_PRICES = {"gpt-4-1106-preview": 24.7, "mistralai/Mixtral-8x7B-Instruct-v0.1": 0.24}  # US dollars per 1M tokens
ARMS = 16  # of greenserv: its `random` algorithm draws one of them uniformly


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table that can be loaded. `shippable` says whether its licence lets figures be joined by the data itself."""

    name: str
    title: str
    source: str
    licence: str
    cost: str
    load: Callable[[Path], OutcomeLog]


def folder(given: Path | str | None = None) -> Path:
    """The folder of tables: what was given, else TURNOUT_DATA. Raises ConfigError where there is none."""
    named = given or os.environ.get(VARIABLE)
    if not named:
        raise ConfigError(f"no folder of outcome tables; name one with --data or the variable {VARIABLE}")
    path = Path(named).expanduser()
    if not path.is_dir():
        raise ConfigError(f"the folder of outcome tables must exist, got {str(named)!r}")
    return path


def load(name: str, data: Path | str | None = None) -> OutcomeLog:
    """A table as an outcome log. Raises UnknownNameError, ConfigError (no folder) or LogError (no or bad table)."""
    known = {entry.name: entry for entry in DATASETS}
    if name not in known:
        raise UnknownNameError("dataset", name, known)
    return known[name].load(folder(data))


def available(data: Path | str | None = None) -> tuple[str, ...]:
    """Names of the tables that the folder holds."""
    path = folder(data)
    return tuple(entry.name for entry in DATASETS if (path / _home(entry.name)).is_dir())


def prompt_tokens(texts: Sequence[str]) -> Floats:
    """WordPiece tokens per text, shape (N,), by the shipped tokenizer.

    >>> prompt_tokens(["Hello, world", ""]).tolist()
    [3.0, 0.0]
    """
    from turnout.signals.encoders.static import load as encoder

    tokenizer = encoder("minilm")
    return np.array([len(tokenizer.ids(text)) for text in texts], dtype=np.float64)


def _home(name: str) -> str:
    return "routellm" if name.startswith("routellm") else name


def _read(path: Path) -> OutcomeLog:
    from turnout.outcomes import OutcomeLog

    return OutcomeLog.read(_present(path))


def _present(path: Path) -> Path:
    if not path.exists():
        source = next((entry.source for entry in DATASETS if _home(entry.name) == path.name), "unknown")
        raise LogError(f"{path}: no such table; its source is {source}")
    return path


def _with(log: OutcomeLog, cost_NE: Floats | None = None, score_NE: Floats | None = None) -> OutcomeLog:
    """The same queries with computed costs."""
    from turnout.outcomes import OutcomeLog

    return OutcomeLog.from_arrays(
        log.texts,
        log.experts,
        log.matrix() if score_NE is None else score_NE,
        cost_NE=cost_NE,
        tasks=log.tasks,
        query_ids=log.query_ids,
    )


def _nine_llm(data: Path) -> OutcomeLog:
    """Cost = input price × prompt tokens: the source has no answers, so answer tokens cannot be priced."""
    log = _read(data / "nine_llm")
    prices = json.loads((data / "nine_llm" / "prices.json").read_text(encoding="utf-8"))
    price_E = np.array([prices[name]["input_price"] for name in log.experts])
    return _with(log, cost_NE=prompt_tokens(log.texts)[:, None] * price_E / 1e6)


def _routellm(data: Path, keep: Callable[[str], bool]) -> OutcomeLog:
    log = _read(data / "routellm")
    log = log.select(np.array([keep(task) for task in log.tasks or ()]))
    price_E = np.array([ROUTELLM_PRICES[name] for name in log.experts])
    return _with(log, cost_NE=prompt_tokens(log.texts)[:, None] * price_E / 1e6)


def _mmlu(data: Path) -> OutcomeLog:
    return _routellm(data, lambda task: task.startswith("mmlu"))


def _gsm8k(data: Path) -> OutcomeLog:
    return _routellm(data, lambda task: task.startswith("gsm8k"))


def _local_pool(data: Path) -> OutcomeLog:
    """The table of that name, or a log of one's own that `data` is itself."""
    own = (data / "outcomes.parquet").is_file()
    return _read(data if own else data / "local_pool")


def greenserv_rewards(data: Path | str | None = None) -> OutcomeLog:
    """Every distinct reward of GreenServ's log, whichever algorithm drew it: without propensities, to learn from."""
    return _greenserv(folder(data), everything=True)


def _greenserv(data: Path, *, everything: bool = False) -> OutcomeLog:
    """The decisions of `random` alone: a query's chance of having been sent to an arm is known."""
    from turnout.outcomes import OutcomeLog, files

    _, decisions = files.read(_present(data / "greenserv") / "bandit_log.parquet")
    _, queries = files.read(data / "greenserv" / "queries.parquet")
    decisions = decisions if everything else decisions.filter(decisions["algorithm"] == "random")
    draws = decisions["run_id"].n_unique()
    decisions = decisions.unique(["query_id", "expert"], keep="first", maintain_order=True)
    outcomes = decisions.select("query_id", "expert", score="reward")
    texts = outcomes["query_id"].cast(str)
    chance = [] if everything else [(outcomes["score"] * 0.0 + _ever(draws)).alias("propensity")]
    outcomes = outcomes.with_columns(texts, *chance)
    named = queries.rename({"dataset": "task"}).with_columns(queries["query_id"].cast(str))
    return OutcomeLog(named, outcomes, where="greenserv: ")


def _routerbench(data: Path) -> OutcomeLog:
    """Some rows of the source repeat; the first of each is kept. Prompts stand there as the text of a list."""
    from turnout.outcomes import OutcomeLog, files
    from turnout.outcomes.turns import turns

    queries, outcomes = files.read(_present(data / "routerbench_subset"))
    if queries is not None:
        queries = queries.unique("query_id", keep="first", maintain_order=True)
        queries = queries.with_columns(
            prompt=queries["prompt"].map_elements(turns, return_dtype=queries["prompt"].dtype)
        )
    outcomes = outcomes.unique(["query_id", "expert"], keep="first", maintain_order=True)
    return OutcomeLog(queries, outcomes, where="routerbench_subset: ")


def _ever(draws: int) -> float:
    """The chance that one arm of ARMS is drawn at least once."""
    return 1.0 - (1.0 - 1.0 / ARMS) ** draws


def _plain(name: str) -> Callable[[Path], OutcomeLog]:
    return lambda data: _read(data / name)


DATASETS: tuple[Dataset, ...] = (
    Dataset(
        "nine_llm",
        "14 tasks, nine open models of 7–70B, full matrix",
        "github.com/ulab-uiuc/LLMRouter, data/dcrouter_preprocessed",
        "MIT",
        f"input price × prompt tokens of {TOKENIZER}",
        _nine_llm,
    ),
    Dataset(
        "routellm_mmlu",
        "MMLU, Mixtral-8x7B against GPT-4-1106",
        "github.com/lm-sys/RouteLLM, routellm/evals/mmlu",
        "Apache-2.0",
        f"RouteLLM's prices × prompt tokens of {TOKENIZER}",
        _mmlu,
    ),
    Dataset(
        "routellm_gsm8k",
        "GSM8K, Mixtral-8x7B against GPT-4-1106",
        "github.com/lm-sys/RouteLLM, routellm/evals/gsm8k",
        "Apache-2.0",
        f"RouteLLM's prices × prompt tokens of {TOKENIZER}",
        _gsm8k,
    ),
    Dataset(
        "local_pool",
        "small local models, each asked in two ways, partial matrix",
        "a log made by `turnout collect`, or the table of the same name",
        "MIT and Apache-2.0 questions",
        "nominal, proportional to parameters and tokens",
        _local_pool,
    ),
    Dataset(
        "seven_llm",
        "MMLU, CMMLU, GSM8K, ARC-c, HumanEval; seven models of 7–8B, soft scores",
        "github.com/shuhao02/RouterDC",
        "none stated: tests only",
        "none",
        _plain("seven_llm"),
    ),
    Dataset(
        "routerbench_subset",
        "ARC-c, MBPP and WinoGrande rows of RouterBench, 11 models",
        "huggingface.co/datasets/withmartian/routerbench",
        "none stated: tests only",
        "US dollars per answer, as logged",
        _routerbench,
    ),
    Dataset(
        "greenserv",
        "a uniformly random policy's decisions over 16 models; reward of accuracy and energy",
        "github.com/TZData1/llm-inference-router",
        "see the source: tests only",
        "none",
        _greenserv,
    ),
    Dataset(
        "alpacaeval",
        "open-ended instructions, win probability against one baseline, 58 models",
        "github.com/tatsu-lab/alpaca_eval",
        "data CC-BY-NC-4.0: tests only",
        "none",
        _plain("alpacaeval"),
    ),
)
