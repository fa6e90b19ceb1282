"""Outcome logs made from real experts: questions, graders, and a runner that can be interrupted."""
