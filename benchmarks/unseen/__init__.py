"""Networks that nothing here was tuned on, each taken through every stage in its own process."""
