"""The format of numbers in the report: three decimals, a true minus sign, and words for a missing number."""

import math

MISSING = "not attainable"
"""The text for a number that is undefined or unattainable; such a number is never written as 0."""


def number(value: float, decimals: int = 3) -> str:
    """Write a number as 0.842; a value that rounds to zero has no sign."""
    text = f"{value:.{decimals}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def signed(value: float, decimals: int = 3) -> str:
    """Write a number with its sign, as +0.012 or −0.012; a value that rounds to zero is written as 0.000."""
    text = number(value, decimals)
    return text if text.startswith("−") or not text.strip("0.") else f"+{text}"


def span(low: float, high: float, *, signs: bool = False) -> str:
    """Write an interval as [0.790, 0.885]."""
    write = signed if signs else number
    return f"[{write(low)}, {write(high)}]"


def chance(p: float) -> str:
    """Write a p value; all values below a thousandth are written as < 0.001."""
    return "< 0.001" if p < 0.001 else number(p)


def percent(share: float) -> str:
    """Write a share in percent: below 10 % with one decimal, such as 2.3 %, otherwise without, such as 12 %."""
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f} %"


def tally(count: float) -> str:
    """Write a count as 12, or as 12.3 if it is a mean that is not whole."""
    return f"{count:.0f}" if math.isclose(count, round(count), abs_tol=1e-9) else f"{count:.1f}"


def hours(amount: float) -> str:
    """Write hours in a unit that suits short and long times: 0.004 → 14 s, 0.25 → 15 min, 12.3 → 12.3 h."""
    if amount == 0:
        return "0"
    seconds = 3600 * amount
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{amount:.1f} h"


def short_hash(digest: str) -> str:
    """Return the first 12 digits of a hash; the CSV and JSON files hold all digits."""
    return digest[:12]


def ratio(value: float) -> str:
    """Write a ratio of synthetic to real lesions as ¼, ½, 1 or 2.06."""
    return {0.25: "¼", 0.5: "½", 0.75: "¾"}.get(value, f"{value:.3g}")
