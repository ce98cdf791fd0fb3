"""Weights that others trained: cards, and tables that rename their tensors to ours."""
