"""Networks on their way to TFLite's integers."""
