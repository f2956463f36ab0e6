"""The forward pass and sampling: the only modules that import torch."""
