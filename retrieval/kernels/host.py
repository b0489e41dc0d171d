"""What this machine's processor can do, and which kind of kernel runs on it."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Literal, get_args

from retrieval.errors import ConfigError

__all__ = ["SimdLevel", "has", "has_tiles", "multiplies_bf16", "picks_bytes", "simd_level"]

SimdLevel = Literal["avx512", "portable"]
"""``avx512``: kernels written with `retrieval.kernels.simd`. ``portable``: plain loops that LLVM
vectorises for whatever the processor has (AVX2, NEON)."""

VARIABLE = "RETRIEVAL_SIMD"
_NEEDED = (
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512vnni",
    "avx512vbmi",
    "avx512vpopcntdq",
    "gfni",
)


@cache
def _features() -> frozenset[str]:
    from llvmlite import binding

    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present)


def has(feature: str) -> bool:
    """Whether the processor has a feature, by LLVM's name (``avx512bf16``)."""
    return feature in _features()


@cache
def multiplies_bf16() -> bool:
    """Whether vdpbf16ps does the work of two float multiply-adds in the time of one: AMD's Zen 4 and 5.

    Intel's processors take four times as long for it, and two multiply-adds are faster (measured
    on one with AMX: 2.0 cycles against 0.5).
    """
    from llvmlite import binding

    return has("avx512bf16") and str(binding.get_host_cpu_name()).startswith("znver")


@cache
def has_tiles() -> bool:
    """Whether this process may multiply bytes by AMX (`retrieval.kernels.simd.tiles`).

    Linux saves tiles only for a process that has asked for it, as it takes 8 KiB a thread; asking is what
    this does first. Threads and forked children may as well then.
    """
    if sys.platform != "linux" or simd_level() != "avx512" or not has("amx-int8"):
        return False
    arch_prctl, ask_for_state, tiles = 158, 0x1023, 18  # of x86-64, which has("amx-int8") implies
    return bool(ctypes.CDLL(None).syscall(arch_prctl, ask_for_state, tiles) == 0)


@cache
def picks_bytes() -> bool:
    """Whether kernels are compiled, for a processor with AVX2: for its shuffle of bytes there is no loop."""
    from numba import config

    return has("avx2") and not config.DISABLE_JIT and config.CPU_NAME != "generic"


@cache
def simd_level() -> SimdLevel:
    """The best level of this machine, or the one that ``RETRIEVAL_SIMD`` names.

    Raises:
        ConfigError: the variable names no level, or one that this machine does not have.
    """
    from numba import config

    asked = os.environ.get(VARIABLE, "")
    capable = all(map(has, _NEEDED)) and not config.DISABLE_JIT
    if asked and asked not in get_args(SimdLevel):
        raise ConfigError(f"{VARIABLE}={asked!r}: there are {', '.join(get_args(SimdLevel))}")
    if asked == "avx512" and not capable:
        lacking = ", ".join(name for name in _NEEDED if not has(name)) or "the compiler (it is switched off)"
        raise ConfigError(f"{VARIABLE}={asked}: this machine lacks {lacking}")
    return "avx512" if capable and asked != "portable" else "portable"
