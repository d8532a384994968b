"""Shapes and dtypes that annotations state are checked at run time in every test."""

from jaxtyping import install_import_hook

install_import_hook(["erm", "influence", "plots", "retrain"], "beartype.beartype")
