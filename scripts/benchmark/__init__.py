"""Measures speed, memory and how they grow, on request together with torchvision. Not installed."""
