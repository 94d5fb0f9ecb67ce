"""Artefacts that a stranger might send: spoiled at random, and made with a purpose."""
