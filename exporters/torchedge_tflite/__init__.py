"""TFLite: files whose integers are the trained ones, and LiteRT as the runtime that proves it."""
