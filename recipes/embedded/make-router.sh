#!/bin/sh
# Makes the router that ships with Turnout: asks the embedded experts, grades, fits. Goes on where it was stopped.
# `sh make-router.sh fit` fits on the committed log alone, without asking anything.
set -eu
cd "$(dirname "$0")"
root=../..
if [ "${1:-all}" != fit ]; then
  turnout collect questions.jsonl chain_sum:8 letter_counting:6 syllogism:6 calendar_arithmetic:5 lcm:4 simple_equations:4 \
    --out log --config turnout.toml --seed 11 --max-tokens 224 --concurrency 12 --timeout 1800
fi
turnout fit log --out "$root/src/turnout/data/router" --config turnout.toml
