"""Whether a table has what a figure is drawn from."""

from collections.abc import Sequence

from pandas import DataFrame


def check_columns(table: DataFrame, columns: Sequence[str]) -> None:
    """Raise ValueError where a column is missing, and name it."""
    if missing := [name for name in columns if name not in table.columns]:
        raise ValueError(f"the table has no column {', '.join(missing)}; it needs {', '.join(columns)}")


def check_drawable(table: DataFrame, columns: Sequence[str]) -> None:
    """The same, and where there are no rows."""
    check_columns(table, columns)
    if table.empty:
        raise ValueError("the table has no rows, so there is nothing to draw; score and retrain first")
