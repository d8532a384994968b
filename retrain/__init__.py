"""Actual change: the models of all removals, solved together and certified.

`removal` is the value, `problem` states the risks, `preconditioner` and `solver` solve them in batches,
`certificate` bounds what is left, `weights` keeps the results, `batches` says who solves what, and
`retrainer` is what the rest of the house asks. Only the retrainers, `choice`, `batches`, `prepare` and
`problem` know ranks.
"""
