"""Training: a recipe and a data set become a run. The way from one to the other is `loop.py`."""
