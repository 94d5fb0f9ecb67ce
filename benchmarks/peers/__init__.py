"""Other toolkits on the same networks and the same images, so that figures can stand side by side.

Their packages are those of the extra ``bench``. What is not installed is reported as not run.
"""
