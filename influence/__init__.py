"""Influence functions: the change in a test loss that removing one training example should cause.

`solution` states what a solver of (H + damping·I) s = v takes and returns; `exact`, `cg`, `lissa` and
`grad_dot` are the solvers, one per file; `scores` turns s into the influence of every training example.
"""
