"""Actual change: every leave-one-out model, solved together and certified.

`removal` states the problem, `preconditioner` and `solver` solve it in batches, `certificate` bounds what is
left, `weights` keeps the results, `schedule` decides who solves what, `distributed` and `launch` know ranks.
"""
