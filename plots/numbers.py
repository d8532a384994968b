"""How numbers are written on figures, on the page and in verdicts."""

import math


def format_number(value: float, digits: int = 2) -> str:
    """So many significant digits, with a true minus; below 1e-3 and from 1e5 on as a power of ten."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    fixed = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    text = fixed if -3 <= exponent < 5 else f"{value:.{digits - 1}e}"
    return text.replace("-", "−")


def format_signed(value: float, digits: int = 3) -> str:
    """The same with its sign, which says whether an example helps or harms."""
    text = format_number(value, digits)
    return f"+{text}" if value > 0 else text


def format_share(share: float) -> str:
    """As a percentage of two digits."""
    return f"{format_number(100 * share)}%"


def format_times(factor: float) -> str:
    """How many times, in one digit."""
    if factor < 2:
        return f"a factor of {factor:.1f}"
    return f"{format_number(float(f'{factor:.0e}'), 1)} times"


def format_r(r: float) -> str:
    """Three decimals, or as many as tell r from ±1, up to six."""
    if math.isnan(r):
        return "undefined"
    # The small term keeps 1 − 0.99999, which rounding puts just below 1e-5, at five decimals.
    decimals = math.ceil(-math.log10(max(1 - abs(r), 1e-6)) - 1e-6)
    return f"{r:.{max(3, decimals)}f}".replace("-", "−")


def format_slope(slope: float) -> str:
    """Three decimals near 1, three digits far from it."""
    if math.isnan(slope):
        return "undefined"
    return (f"{slope:.3f}" if 0.1 <= abs(slope) < 10 else f"{slope:.3g}").replace("-", "−")
