"""What holds for all tests.

Generated inputs are the same each time, so that a change is judged by what it changes, and coverage by what is there.
To look further: ``make test ARGS=--hypothesis-profile=explore``.
"""

from hypothesis import settings

settings.register_profile("explore", derandomize=False)
settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")
