"""Reading what strangers wrote: bounded, strict, and checked before anything is built from it."""
