"""The named choices of a model that draws in more than one way: the styles of one network, the directions of a pair.

A graph with choices takes `condition` (B, C), one weight a choice. Letters: B batch, C choices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.contract.fields import Line
from app.errors import InvalidOption

Weights = NDArray[np.float32]  # (C,)

ChoiceName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]  # no comma and no colon: a mix is written with them
MAX_MIX_CHARS = 4096
MAX_ROUNDING = 1e-3  # of the sum of a client's shares: thirds that were written with three digits are let pass
TAKEN = ("model", "version", "image", "strength", "preserve_colour", "max_side_px")  # options that every model of pictures has

_SHARE = re.compile(r"\s*([^:]*?)\s*:\s*([0-9.eE+-]{1,32})\s*")


class Choice(BaseModel):
    """One column of `condition`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ChoiceName
    title: Line


class Condition(BaseModel):
    """What a client may choose, by the name of the option: the order of `choices` is that of the columns of `condition`.

    Where choices are `mixable`, their weights are shares that sum to 1 and rows of different weights share a batch; where
    they are not, one weight is 1 and a batch is of one choice. `neutral` is the choice that gives the picture back:
    `strength` blends from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    option: str = Field(pattern="^[a-z][a-z0-9_]{0,31}$")
    choices: tuple[Choice, ...] = Field(min_length=2)
    default: str
    mixable: bool
    neutral: str | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError(f"choices must have different names, not {', '.join(names)}")
        for field, name in (("default", self.default), ("neutral", self.neutral)):
            if name is not None and name not in names:
                raise ValueError(f"{field} must be one of the choices: {', '.join(names)}")
        if self.neutral is not None and not self.mixable:
            raise ValueError("neutral is for choices that can be mixed: strength blends with it")
        if {self.option, self.plural} & set(TAKEN):
            raise ValueError(f"option must not be {self.option!r}: every model has an option of that name")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(choice.name for choice in self.choices)

    @property
    def plural(self) -> str:
        """The option that takes a mix: `styles` beside `style`."""
        return f"{self.option}s"

    def choose(self, name: str) -> Weights:
        """One choice alone. Raises InvalidOption, which lists the choices."""
        return self._weights({name: 1.0}, self.option)

    def read_shares(self, value: Any) -> dict[str, float]:
        """`oil:0.7,ink:0.3` from a query, or {"oil": 0.7, "ink": 0.3} from JSON. Raises InvalidOption, which shows the form."""
        pairs = _pairs(value)
        if pairs is None:
            example = f"{self.names[0]}:0.7,{self.names[1]}:0.3"
            raise InvalidOption(
                f"{self.plural} must be names with weights, such as {example}; available: {', '.join(self.names)}", param=self.plural
            )
        shares = dict(pairs)
        if len(shares) < len(pairs):
            raise InvalidOption(f"{self.plural} must name each choice once", param=self.plural)
        return shares

    def mix(self, shares: Mapping[str, float]) -> Weights:
        """Several choices by their shares, which need not sum to 1. Raises InvalidOption, which lists the choices."""
        if not self.mixable:
            raise InvalidOption(f"the choices of {self.option} cannot be mixed; give one as {self.option}", param=self.plural)
        return self._weights(shares, self.plural)

    def are_weights(self, weights: Weights) -> bool:
        """Whether a client's row (C,) is what `choose` and `mix` give: shares that sum to 1, or a single 1."""
        if not (np.isfinite(weights).all() and weights.min() >= 0):
            return False
        if not self.mixable:
            return bool(np.count_nonzero(weights) == 1 and weights.max() == 1)
        return bool(abs(weights.sum(dtype=np.float64) - 1) <= MAX_ROUNDING)

    def blend(self, weights: Weights, strength: float) -> Weights:
        """`strength` of the weights and the rest neutral: 0 gives the picture back, 1 is the weights. Raises InvalidOption."""
        if not 0 <= strength <= 1:
            raise InvalidOption("strength must be between 0 and 1", param="strength")
        if self.neutral is None:
            raise InvalidOption(f"the model has no neutral {self.option}, so strength means nothing here", param="strength")
        return (strength * weights + (1 - strength) * self.choose(self.neutral)).astype(np.float32)

    def _weights(self, shares: Mapping[str, float], param: str) -> Weights:
        weights = np.zeros(len(self.choices))
        for name, share in shares.items():
            if name not in self.names:
                raise InvalidOption(f"there is no {self.option} {name[:64]!r}; available: {', '.join(self.names)}", param=param)
            if not (math.isfinite(share) and share >= 0):
                raise InvalidOption(f"the weight of {name!r} must be a number, at least 0", param=param)
            weights[self.names.index(name)] = share
        total = sum(shares.values())
        if not (math.isfinite(total) and total > 0):
            raise InvalidOption(f"the weights of {self.plural} must have a finite sum above 0", param=param)
        return (weights / total).astype(np.float32)


def _pairs(value: Any) -> list[tuple[str, float]] | None:
    """None for what is no list of names with weights."""
    if isinstance(value, str) and len(value) <= MAX_MIX_CHARS:
        parts = [_SHARE.fullmatch(part) for part in value.split(",")]
        value = [(part[1], part[2]) for part in parts if part]
        if len(value) < len(parts):
            return None
    elif isinstance(value, dict) and all(type(share) in (int, float) for share in value.values()):
        value = list(value.items())
    else:
        return None
    try:
        return [(name, float(share)) for name, share in value]
    except (ValueError, OverflowError):
        return None
