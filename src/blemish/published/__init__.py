"""Finished runs over the classes of a data set, beside what others have published."""
