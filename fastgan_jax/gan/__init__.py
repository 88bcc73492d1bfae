"""The algorithm as pure functions: no files, no clock. `step.py` reads beside section 3 of the paper."""
