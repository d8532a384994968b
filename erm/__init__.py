"""Empirical risk minimisation: the problem that influence predicts and retraining solves.

`dataset` holds the examples, `risk` states what a model must answer, `softmax` answers in closed form,
`autograd` answers for any `nn.Module`, and `fit` finds the minimiser.
"""
