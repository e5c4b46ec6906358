"""Results of `benchmarks.bench` as tables."""

from typing import Any

from benchmarks.rows import Result, Rows, markdown


def table(result: Result) -> str:
    """Draws what was set side by side, a row a pair, then what grew with the corpus."""
    measured = [one for part in result["parts"].values() for one in part["measured"]]
    pairs = [row for one in measured for row in _pairs(one)]
    grown = [_growth(one) for one in measured if "exponent" in one]
    return "\n\n".join(markdown(rows) for rows in (pairs, grown) if rows)


def _pairs(one: Result) -> Rows:
    return [
        {
            "what": one["what"],
            "ours": f"{ratio['ours'].removeprefix('ours, ')}: {_shown(one, ratio['ours'])}",
            "theirs": f"{ratio['theirs']}: {_shown(one, ratio['theirs'])}",
            "times as fast": f"{ratio['times_as_fast']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})",
        }
        for ratio in one.get("ratios", [])
    ]


def _shown(one: Result, name: str) -> str:
    median = one["medians"][name]
    return f"{median:,.0f} {one['unit']}" if median >= 100 else f"{median:.3g} {one['unit']}"


def _growth(one: Result) -> dict[str, Any]:
    sizes = {f"{name}, s": f"{one['medians'][name]:.2f}" for name in one["clips"]}
    return {"cost of": one["what"]} | sizes | {"exponent": f"{one['exponent']:.2f}"}
