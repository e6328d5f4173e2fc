"""What a run cost."""

from __future__ import annotations

__all__ = ["cost"]


def cost(duration_s: float, devices: int, price_per_device_hour: float | None) -> float | None:
    """Return seconds x devices x price per device hour, in the currency of the price.

    No price gives no cost. A run without an accelerator counts as one device, and a clock that
    went backwards as no time.
    """
    if price_per_device_hour is None:
        return None
    return max(duration_s, 0.0) / 3600.0 * max(devices, 1) * price_per_device_hour
