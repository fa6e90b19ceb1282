#!/bin/sh
# Makes the router that ships with Turnout: asks the embedded experts, grades, fits. Goes on where it was stopped.
# `sh make-router.sh fit` fits on the committed log alone, without asking anything.
set -eu
cd "$(dirname "$0")"
asked="--out log --config turnout.toml --seed 11 --max-tokens 224 --concurrency 12 --timeout 1800"
if [ "${1:-all}" != fit ]; then
  turnout collect questions.jsonl chain_sum:8 letter_counting:6 syllogism:6 calendar_arithmetic:5 lcm:4 \
    simple_equations:4 --experts 'qwen2.5-coder-0.5b*' $asked
  turnout collect questions.jsonl:70 chain_sum:2 letter_counting:2 syllogism:2 calendar_arithmetic:2 lcm:1 \
    simple_equations:1 --experts 'smollm2-135m*' $asked
fi
turnout fit log --out ../../src/turnout/data/router --config turnout.toml --lam 10000
