"""What this machine's processor is."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux only


def name() -> str:
    """Return the processor's name and the widest vectors that it has, such as ``AMD EPYC avx2``."""
    model = _fields().get("model name") or platform.processor() or platform.machine()
    widest = next((kind for kind in ("avx512f", "avx2", "avx") if kind in _flags()), "")
    return f"{model} {widest}".strip()


def has_avx512() -> bool:
    """Return whether the processor has AVX-512; False where the system does not say."""
    return "avx512f" in _flags()


def _flags() -> frozenset[str]:
    return frozenset(_fields().get("flags", "").split())


@functools.cache
def _fields() -> dict[str, str]:
    """Return the first processor's fields."""
    try:
        lines = CPUINFO.read_text(errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
