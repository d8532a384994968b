"""Figures and the statistics printed in them, from tables alone: this room knows no model.

`agreement` measures how well predicted changes match actual ones, `leave_one_out` lays out the scatter,
`panel` draws one panel of it, and `limits` decides what its axes show. `errors` sets the errors of the
methods against the certificates; `ranking` says which training points help and harm a test point most.
`trace`, `spectrum`, `cost` and `sweep` are the figures of other commands. `style` holds every look, and
writes every figure.
"""
