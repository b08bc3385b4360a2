"""Places, stages and tables: the only layer that knows where things are stored and in which format."""
