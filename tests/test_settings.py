"""Tests of pipelines.settings: bounds, what is refused, and how defaults are written."""

import dataclasses
import math

import pytest

from pipelines.command import InputError
from pipelines.settings import (
    SHARE,
    Bounds,
    above,
    at_least,
    check,
    defaults_of,
    flag_of,
    require,
    setting,
    settings_of,
    up_to,
    written,
)


@dataclasses.dataclass(frozen=True)
class Example:
    """One field of each kind, and one that is no setting."""

    count: int = setting(2, "Count.", at_least(1))
    share: float = setting(0.5, "Share.", SHARE)
    level: float | None = setting(None, "Level.", up_to(100), word="off")
    widths: tuple[int, ...] = setting((1, 2), "Widths.", at_least(1), count=Bounds(1, 3))
    kind: str = setting("a", "Kind.", choices=("a", "b"))
    units: tuple[int, ...] = setting((), "Units.", at_least(1), models={"gru": (3, 4), "crnn": (5,)})
    is_fixed: bool = setting(False, "Fixed.", flag="fixed")
    inside: int = 7


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (at_least(1), [1, 2, 1e9], [0, 0.999, math.inf]),
        (above(0), [1e-9, 5], [0, -1, math.inf]),
        (SHARE, [0, 0.5, 0.999], [-0.001, 1]),
        (up_to(0.5), [0, 0.5], [0.501, -1]),
        (Bounds(0, 1, is_above=True), [0.001, 1], [0, 1.001]),
    ],
)
def test_bounds_hold_what_lies_between_and_never_nan(bounds, inside, outside):
    assert all(number in bounds for number in inside)
    assert not any(number in bounds for number in [*outside, math.nan, -math.inf])


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (at_least(1), "at least 1"),
        (above(0), "above 0"),
        (SHARE, "from 0 to below 1"),
        (up_to(0.5), "from 0 to 0.5"),
        (Bounds(0, 1, is_above=True), "above 0 to 1"),
        (Bounds(0, 2**31, is_below=True), "from 0 to below 2147483648"),
    ],
)
def test_bounds_are_written_as_help_and_complaints_say_them(bounds, text):
    assert str(bounds) == text


def test_defaults_are_within_their_bounds():
    check(Example())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"count": 0}, "--x-count 0 cannot work: give a number of at least 1."),
        ({"share": 1.0}, "--x-share 1.0 cannot work: give a number from 0 to below 1."),
        ({"share": math.nan}, "--x-share nan cannot work: give a number from 0 to below 1."),
        ({"level": 101.0}, "--x-level 101.0 cannot work: give a number from 0 to 100, or off."),
        ({"widths": (3, 0)}, "--x-widths 0 cannot work: give a number of at least 1."),
        ({"widths": ()}, "--x-widths 0 cannot work: give a number of them from 1 to 3."),
        ({"widths": (1,) * 4}, "--x-widths 4 cannot work: give a number of them from 1 to 3."),
        ({"kind": "c"}, "--x-kind c cannot work: give one of a, b."),
    ],
)
def test_what_a_setting_may_not_be_gets_a_sentence_with_its_flag(values, sentence):
    with pytest.raises(InputError) as error:
        check(Example(**values), "x_")
    assert str(error.value) == sentence


@pytest.mark.parametrize("values", [{"level": 0.0}, {"level": None}, {"units": ()}, {"inside": -1}])
def test_what_a_setting_may_be_passes(values):
    check(Example(**values))


def test_a_number_without_a_field_is_checked_alike():
    require("seed", [0, 5], at_least(0))
    with pytest.raises(InputError, match=r"^--fold-seed -1 cannot work: give a number of at least 0"):
        require("fold_seed", [0, -1], at_least(0))


def test_settings_are_found_by_the_names_of_their_flags():
    assert list(settings_of(Example, "x_")) == [
        *("x_count", "x_share", "x_level", "x_widths", "x_kind", "x_units", "fixed")
    ]
    assert flag_of("x_count") == "--x-count"


def test_defaults_are_written_as_they_are_typed():
    found = {name: defaults_of(field) for name, field in settings_of(Example).items()}
    assert found == {
        "count": "2",
        "share": "0.5",
        "level": "off",
        "widths": "1 2",
        "kind": "a",
        "units": "3 4 for gru, 5 for crnn",
        "fixed": "",
    }
    assert written(5e-5) == "5e-05"
    assert written(["a", "b"]) == "a b"
