#!/bin/sh
# Makes the router that ships with Turnout: asks the embedded experts, grades, fits. Goes on where it was stopped.
# `sh make-router.sh fit` fits on the committed log alone, without asking anything.
set -eu
cd "$(dirname "$0")"
asked="--out log --config turnout.toml --seed 11 --max-tokens 224 --concurrency 12 --timeout 1800"
if [ "${1:-all}" != fit ]; then
  turnout collect questions.jsonl chain_sum:40 letter_counting:36 syllogism:36 calendar_arithmetic:30 lcm:20 \
    simple_equations:20 --experts 'qwen2.5-coder-0.5b*,smollm2-135m' $asked
  turnout collect questions.jsonl:70 chain_sum:12 letter_counting:10 syllogism:10 calendar_arithmetic:9 lcm:6 \
    simple_equations:6 --experts 'smollm2-135m+steps' $asked
fi
turnout fit log --out ../../src/turnout/data/router --config turnout.toml --lam 10000
