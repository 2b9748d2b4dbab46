"""A learner, a backbone and a data set for metashot."""
