"""A batch that does not part evenly is refused before anything is trained on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from training.kit.config import ConfigError
from training.kit.processes import refuse_uneven


def test_a_batch_is_shared_evenly_or_refused() -> None:
    two: Any = SimpleNamespace(world_size=2)
    refuse_uneven(two, batch_size=16)
    with pytest.raises(ConfigError, match=r"batch_size=15 cannot be shared evenly by 2 processes"):
        refuse_uneven(two, batch_size=15)
