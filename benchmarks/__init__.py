"""Timings of the operators and of the model, each beside its competitors in the same run."""
