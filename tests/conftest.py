"""Shapes and dtypes that annotations state are checked at run time in every test."""

import torch
from jaxtyping import install_import_hook

install_import_hook(["erm", "influence", "plots", "retrain"], "beartype.beartype")

# The problems are small: a second thread would cost more in waiting than it gains.
torch.set_num_threads(1)
