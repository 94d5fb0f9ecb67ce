"""Networks built from short frozen recipes, and what must hold for each."""
