"""The name and the vector instructions of this machine's processor."""

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
    """Return whether the processor has AVX-512; False if this is not known."""
    return "avx512f" in _flags()


def _flags() -> frozenset[str]:
    return frozenset(_fields().get("flags", "").split())


@functools.cache
def _fields() -> dict[str, str]:
    """Return {field: value} of the first processor in ``CPUINFO``; {} if there is no such file."""
    try:
        lines = CPUINFO.read_text(errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
