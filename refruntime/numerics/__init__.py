"""The only place that rounds or orders: numeric profiles and libm."""
