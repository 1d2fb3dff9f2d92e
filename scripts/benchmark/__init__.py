"""Measure speed, memory and growth, beside torchvision where that is asked; not installed."""
