"""Kernels under ThreadSanitizer and AddressSanitizer: each finds the bugs planted for it, and none
in ours."""

import pytest

import sanitized
from device import has_gpu

if has_gpu():
    pytest.skip("the sanitizers watch the emulated device", allow_module_level=True)

RACE, OUTSIDE = "ThreadSanitizer: data race", "AddressSanitizer: use-after-poison"
CASES = [
    ("thread", "steps", None), ("thread", "kernels", None), ("thread", "atomic", None),
    ("thread", "race", RACE),
    ("address", "steps", None), ("address", "kernels", None), ("address", "atomic", None),
    ("address", "read", OUTSIDE), ("address", "write", OUTSIDE),
]  # fmt: skip


@pytest.mark.parametrize("sanitizer, work, problem", CASES)
def test_sanitizer(sanitizer, work, problem):
    if sanitized.library(sanitizer) is None:
        pytest.skip(f"NOT CHECKED: g++ has no {sanitized.LIBRARIES[sanitizer]} here")
    status, messages = sanitized.run(sanitizer, work)
    assert (status != 0) == (problem is not None), messages
    assert (problem or "") in messages, messages
