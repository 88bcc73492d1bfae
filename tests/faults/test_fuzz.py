"""Damaged settings and files are used or refused in one line: the same few cases each time.

`python -m tests.faults --fuzz MINUTES` draws others.
"""

import pytest

from faults.fuzz import PROPERTIES, SLOW, draw_cases


@pytest.mark.filterwarnings("ignore")  # of libraries, about damaged files
@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_any_change_is_survived(check):
    draw_cases(check, SLOW.get(check, 25))
