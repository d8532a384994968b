"""Which training points help a test point most, and which harm it most, by what removing them did.

Removing a helpful point raises the test loss, removing a harmful one lowers it. An effect that is no larger
than its certificate cannot be told from 0, so such a point is neither.
"""

import math

from pandas import DataFrame

from plots.tables import check_columns

COLUMNS = ("train_index", "label", "actual_change", "certificate")
SHOWN = 12
"""Points of each kind in a gallery."""


def most_helpful(table: DataFrame) -> DataFrame:
    """The points whose removal raises the test loss, the largest actual change first.

    Args:
        table: rows of one test point with at least `COLUMNS`, such as those of leave_one_out.csv; a training
            point that several methods list counts once. Actual changes and certificates are in units of the
            test loss, which has no L2.

    Returns:
        `COLUMNS`, one row a training point, indexed from 0; points of equal change by ascending index.

    Raises:
        ValueError: a column is missing, or the rows are of several test points.
    """
    return _largest(table, sign=1)


def most_harmful(table: DataFrame) -> DataFrame:
    """The points whose removal lowers the test loss, the most negative actual change first.

    Arguments, result and errors are those of `most_helpful`.
    """
    return _largest(table, sign=-1)


def _largest(table: DataFrame, sign: int) -> DataFrame:
    check_columns(table, COLUMNS)
    if "test_index" in table.columns and table["test_index"].nunique() > 1:
        raise ValueError(
            f"the table has rows of test points {', '.join(map(str, table['test_index'].unique()))}; "
            "pass those of one"
        )
    points = table[list(COLUMNS)].drop_duplicates("train_index")
    effect = sign * points["actual_change"]
    # Comparisons with NaN are false: what is not known is not ranked.
    certain = points[(effect > 0) & (effect > points["certificate"]) & (effect < math.inf)]
    ordered = certain.sort_values(["actual_change", "train_index"], ascending=[sign < 0, True])
    first: DataFrame = ordered.head(SHOWN).reset_index(drop=True)
    return first
