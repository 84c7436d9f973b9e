"""The choices of a model: by name, mixed, and blended with the neutral one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.conditions import Condition
from app.errors import InvalidOption


def condition(**changes: Any) -> Condition:
    choices = [{"name": name, "title": name.title()} for name in ("oil", "ink", "none")]
    fields = {"option": "style", "choices": choices, "default": "oil", "mixable": True, "neutral": "none"}
    return Condition.model_validate(fields | changes)


def direction() -> Condition:
    choices = [{"name": "a-to-b", "title": "A to B"}, {"name": "b-to-a", "title": "B to A"}]
    return condition(option="direction", choices=choices, default="a-to-b", mixable=False, neutral=None)


def test_a_choice_is_one_column() -> None:
    assert condition().choose("ink").tolist() == [0, 1, 0]
    assert direction().choose("b-to-a").tolist() == [0, 1]
    assert str(condition().choose("ink").dtype) == "float32"


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ({"oil": 0.25, "ink": 0.75}, [0.25, 0.75, 0]),
        ({"oil": 1, "ink": 3}, [0.25, 0.75, 0]),
        ({"none": 7}, [0, 0, 1]),
        ({"oil": 0, "ink": 2}, [0, 1, 0]),
        ({"oil": 1e-300, "ink": 1e-300}, [0.5, 0.5, 0]),
    ],
)
def test_the_weights_of_a_mix_sum_to_one(shares: dict[str, float], weights: list[float]) -> None:
    assert condition().mix(shares).tolist() == weights


@pytest.mark.parametrize(
    "shares", [{}, {"oil": 0}, {"oil": -1, "ink": 3}, {"oil": float("nan")}, {"oil": float("inf")}, {"oil": 1e308, "ink": 1e308}]
)
def test_weights_without_a_sum_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InvalidOption) as caught:
        condition().mix(shares)
    assert caught.value.param == "styles"


def test_an_unknown_choice_is_refused_with_those_that_exist() -> None:
    for ask, param in ((lambda: condition().choose("oils"), "style"), (lambda: condition().mix({"ink": 1, "oils": 1}), "styles")):
        with pytest.raises(InvalidOption, match="there is no style 'oils'; available: oil, ink, none") as caught:
            ask()
        assert caught.value.param == param


def test_directions_are_not_mixed_and_have_no_strength() -> None:
    with pytest.raises(InvalidOption, match="cannot be mixed; give one as direction"):
        direction().mix({"a-to-b": 1})
    with pytest.raises(InvalidOption, match="no neutral direction"):
        direction().blend(direction().choose("a-to-b"), 0.5)


@pytest.mark.parametrize(("strength", "weights"), [(0, [0, 0, 1]), (0.25, [0.25, 0, 0.75]), (1, [1, 0, 0])])
def test_strength_blends_with_the_neutral_choice(strength: float, weights: list[float]) -> None:
    assert condition().blend(condition().choose("oil"), strength).tolist() == weights


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_is_a_share(strength: float) -> None:
    with pytest.raises(InvalidOption, match="strength must be between 0 and 1"):
        condition().blend(condition().choose("oil"), strength)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"choices": [{"name": "oil", "title": "Oil"}] * 2}, "choices must have different names, not oil, oil"),
        ({"choices": [{"name": "oil", "title": "Oil"}]}, "at least 2 items"),
        ({"choices": [{"name": "a:b", "title": "A"}, {"name": "oil", "title": "Oil"}]}, "should match pattern"),
        ({"choices": [{"name": "a,b", "title": "A"}, {"name": "oil", "title": "Oil"}]}, "should match pattern"),
        ({"default": "oils"}, "default must be one of the choices: oil, ink, none"),
        ({"neutral": "nothing"}, "neutral must be one of the choices: oil, ink, none"),
        ({"mixable": False}, "neutral is for choices that can be mixed"),
        ({"option": "strength"}, "every model has an option of that name"),
        ({"option": "Style"}, "should match pattern"),
        ({"titles": []}, "Extra inputs are not permitted"),
    ],
)
def test_a_condition_that_contradicts_itself_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        condition(**changes)
    assert says in str(caught.value)
