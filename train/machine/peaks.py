"""Peak operations per second of a device, for MFU: by its name, else measured.

Numbers are dense (without sparsity) bfloat16 operations from the makers' data sheets. A run in
another type, and a GPU without such a number, is measured.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import torch

from train.config import RuntimeConfig

# Tera-operations a second by the GPU's name; None for variants that have other clocks than the
# plain name, without a published number. The first pattern that matches whole words wins, so
# variants come first ("H100 NVL" before "H100").
PEAK_TFLOPS = (
    # Blackwell. A GB200 or GB300 is named once for each of its GPUs.
    (r"GB300|B300", 2500),
    (r"GB200", 2500),
    (r"B200", 2250),
    (r"B100", 1750),
    (r"RTX PRO 6000 Blackwell Max-Q", 438),
    (r"RTX PRO 6000 Blackwell", 503.8),
    (r"RTX 5090 Laptop( GPU)?", None),
    (r"RTX 5090 D", None),
    (r"RTX 5090", 209.5),
    (r"RTX 5080", 112.6),
    (r"RTX 5070 Ti", 87.9),
    (r"RTX 5070", 61.7),
    # Hopper.
    (r"H200 NVL", 836),
    (r"GH200|H200", 989),
    (r"H100 NVL", 835),
    (r"H100 PCIe", 756),
    (r"H100", 989),
    (r"H800 PCIe", 756),
    (r"H800", 989),
    (r"H20", 148),
    # Ada.
    (r"L40S", 362),
    (r"L40", 181),
    (r"L20", 119.5),
    (r"L4", 121),
    (r"RTX 6000 Ada", 364.2),
    (r"RTX 40\d\d( Ti)?( SUPER)? Laptop", None),
    (r"RTX 4090 D", None),
    (r"RTX 4090", 165),
    (r"RTX 4080 SUPER", 104.4),
    (r"RTX 4080", 97.5),
    # Ampere.
    (r"A100", 312),
    (r"A800", 312),
    (r"A40", 149.7),
    (r"A30", 165),
    (r"A10G", 70),
    (r"A10", 125),
    (r"RTX A6000", 154.8),
    (r"RTX 3090 Ti", 80),
    (r"RTX 3090", 71),
    # AMD.
    (r"MI355X", 2516.6),
    (r"MI350X", 2306.9),
    (r"MI325X", 1307.4),
    (r"MI300X", 1307.4),
    (r"MI300A", 980.6),
    (r"MI250X", 383),
    (r"MI250", 362.1),
    (r"MI210", 181),
)


@dataclass(frozen=True)
class Peak:
    """Peak operations per second of a device, and the source of the number."""

    flops: float
    source: str


def peak(device: torch.device, dtype: torch.dtype, config: RuntimeConfig) -> Peak:
    """The peak of one device: as configured, from its data sheet, or measured with matrix products in `dtype`."""
    if config.peak_tflops is not None:
        return Peak(config.peak_tflops * 1e12, "train.runtime.peak_tflops")

    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        known = known_peak(name)
        if known is not None:
            return Peak(known, f"{name}, data sheet, bfloat16")

    return Peak(_measured_flops(device, dtype), f"measured, {str(dtype).removeprefix('torch.')}")


def known_peak(name: str) -> float | None:
    """Dense bfloat16 operations a second of a GPU by its name; None where unknown."""
    for pattern, tflops in PEAK_TFLOPS:
        # Whole words: "A100" is not the "RTX A1000", and "L4" not the "L40".
        if re.search(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", name):
            return None if tflops is None else tflops * 1e12
    return None


def _measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the peak: the best of a few square matrix products, 0.1 s on two CPU cores."""
    size = 4096 if device.type == "cuda" else 512
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    best = 0.0

    for _ in range(20):
        started = time.perf_counter()
        (matrix @ matrix).sum().item()  # the sum waits for the device
        best = max(best, 2 * size**3 / (time.perf_counter() - started))

    return best
