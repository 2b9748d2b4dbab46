"""Labels that the tests of this folder share."""

import pytest

SIZES = {"ape": 9, "bee": 7, "cat": 12, "dog": 8, "eel": 7, "fox": 10}


@pytest.fixture
def names() -> list[str]:
    """(53,) labels of six classes of different sizes, interleaved."""
    ordered = [name for name, size in SIZES.items() for _ in range(size)]
    return [ordered[place * 20 % len(ordered)] for place in range(len(ordered))]  # 20 and 53 have no common factor
