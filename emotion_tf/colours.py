"""The colours of emotions: the same in every picture, whatever draws it."""

COLOURS = ("#7f7f7f", "#56b4e9", "#e69f00", "#0072b2", "#d55e00", "#8c5fc4", "#009e73", "#cc79a7")
"""The colour-blind tell them apart, on light and dark ground. Source: Okabe & Ito 2008, and two more."""


def colour_of(place: int) -> str:
    """Names the colour of an emotion by its place in the label set; the ninth is the first."""
    return COLOURS[place % len(COLOURS)]
