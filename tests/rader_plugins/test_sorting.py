"""Orders of whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins.sorting import stable_order


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 3) | st.integers(2**16 - 2, 2**16 + 2)))
@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int64])
def test_the_order_is_numpys_own(dtype: type, numbers: list[int]) -> None:
    array = np.array(numbers, dtype=dtype)
    np.testing.assert_array_equal(stable_order(array), np.argsort(array, kind="stable"))


def test_the_largest_number() -> None:
    assert stable_order(np.array([2**32 - 1, 0, 2**32 - 1, 65535], dtype=np.uint32)).tolist() == [1, 3, 0, 2]
