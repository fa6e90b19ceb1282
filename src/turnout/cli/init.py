"""`turnout init`: a commented configuration to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TEMPLATE = """\
# Turnout's configuration. Every line that is commented out shows its default.
# Precedence: flags > TURNOUT_* variables > ./turnout.toml > the user's file > defaults.
# `turnout config show` prints each value and where it came from.

[gateway]
# host = "127.0.0.1"             # a host that is not loopback needs access_key_env
# port = 8790
# access_key_env = "TURNOUT_KEY" # the variable that holds the key clients must send as a bearer token
# allowed_hosts = []             # names beside loopback that the Host header may carry
# allowed_origins = []           # browser origins that may call
# deadline_s = 300.0             # the longest an answer may take
# connect_s = 5.0                # the longest that connecting to an expert may take
# max_body_mb = 10.0
# max_inflight = 512             # requests served at once; the next is answered 503 at once

[router]
# path = "router/"               # made by `turnout fit`; the router that ships if absent
# default = "EXPERT"             # serves `turnout/auto` where the router knows none of the experts; else the dearest
# explore = 0.0                  # chance of a uniform choice, recorded with its propensity, so that traces can teach
# switch_margin = 0.05           # a conversation leaves its expert only for a gain above this
# retries = 1                    # other experts that are tried before the first byte

# Named signals, and rules over them. The first rule that holds (highest priority first) refuses, forces or narrows;
# the router chooses among what is left. Only signals that a rule asks for are computed. `turnout config check` finds
# rules that are never reached or that contradict each other; `turnout explain -c FILE` tells which rule applied.
# [router.signals.code]
# type = "keyword"               # keyword | regex | length | language | embedding | contrast | tenant | needs |
# words = ["def", "traceback"]   #   conversation | when; `match = "all"` or `"none"`, `fuzzy = 0.5` for misspellings
# [router.signals.long]
# type = "length"
# min = 3000                     # tokens of the whole prompt
# [router.signals.jailbreak]
# type = "contrast"
# of = "jailbreak"               # or `examples` and `against`; also `of = "complexity"`
# min = 0.15
# turns = true                   # read all of the user's turns
# [router.signals.hard]
# type = "when"
# when = "code and long"
#
# [[router.rules]]
# name = "no jailbreaks"
# when = "jailbreak"
# priority = 100
# then = { refuse = "This request is against the rules of this service." }
# [[router.rules]]
# name = "hard code"
# when = "hard and not jailbreak"
# then = { among = ["big", "big+steps"] }  # or expert = "ID", avoid = [...], lam = 5.0, floor = 0.7

[traces]
# store = "signals"              # none | signals | prompts
# max_days = 30.0
# max_mb = 512.0

[embedded]
# models = ["smollm2-135m", "qwen2.5-coder-0.5b"]  # [] turns the embedded experts off; see `turnout models list`
# slots = 4                      # answers at once per model
# context = 4096
# answer = 1024                  # tokens after which an answer ends whose request names no cap

[judge]                            # grades rows with `"grader": "judge"` for `turnout collect`, at temperature 0
# expert = "big"                 # an expert, embedded ones too; or a server of its own:
# base_url = "https://host/v1"
# model = "name-at-the-server"
# key_env = "JUDGE_KEY"
# price = { input = 2.5, output = 10.0 }
# rubric = "..."                 # in place of the built-in one
# scale = 10                     # the best score
# max_tokens = 256
# body = { grammar = 'root ::= "Score: " [0-9]' } # further fields; this one holds a small llama.cpp model to the form

[log]
# level = "info"

# Any OpenAI-compatible server is an expert. Prices are US dollars per million tokens.
# [[experts]]
# id = "big"
# base_url = "https://host/v1"
# model = "name-at-the-server"
# key_env = "BIG_KEY"            # the variable that holds the key; the key itself is never written here
# context = 128000
# price = { input = 2.5, output = 10.0 }
# card = "A strong general model."
#
# [[experts]]
# id = "big+steps"               # a second arm: the same model, asked in another way
# base_url = "https://host/v1"
# model = "name-at-the-server"
# key_env = "BIG_KEY"
# price = { input = 2.5, output = 10.0 }
# features = []
# suffix = "\\n\\nThink step by step, then give the answer."
"""


def command(
    path: Annotated[Path, typer.Argument(help="Where to write.")] = Path("turnout.toml"),
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration."""
    from turnout.cli._output import stdout
    from turnout.errors import ConfigError

    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; name another file, or replace it with --force")
    path.write_text(TEMPLATE, encoding="utf-8")
    stdout().print(f"wrote {path}; next: turnout up --config {path}")
