"""Figures and the statistics printed in them, from tables alone: this room knows no model.

`agreement` measures how well predicted changes match actual ones, `leave_one_out` lays out the figure,
`panel` draws one panel of it, `limits` decides what its axes show, and `style` holds every look.
"""
