"""Train / validation / test by group: everything that shares a key (a lesion, a patient, a book) lands on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")


def hash_split(keys: Sequence[str], shares: Mapping[str, float], salt: str) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each split. A key's side depends on the key and the salt alone, so it is the same in any subset of the data.

    `shares` are fractions that add up to one, in order; `salt` names the split, another salt gives another split.
    """
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"the shares of a split add up to 1, these to {sum(shares.values())}")
    bounds = np.cumsum(list(shares.values()))
    positions = np.array([_position(key, salt) for key in keys])
    side = np.minimum(np.searchsorted(bounds, positions, side="right"), len(bounds) - 1)
    rows = {name: np.flatnonzero(side == i) for i, name in enumerate(shares)}
    assert_disjoint({name: [keys[i] for i in chosen] for name, chosen in rows.items()})
    return rows


def assert_disjoint(keys: Mapping[str, Iterable[str]]) -> None:
    """Raises ValueError that names a key which two splits share."""
    seen: dict[str, str] = {}
    for split, members in keys.items():
        for key in set(members):
            if key in seen:
                raise ValueError(f"{key!r} is in {seen[key]} and in {split}: figures on it would be worth nothing")
            seen[key] = split


def _position(key: str, salt: str) -> float:
    """A fixed pseudo-random number in [0, 1) for a key."""
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
