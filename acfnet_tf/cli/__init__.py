"""The command line: one file for each mode, which holds its flags, its help and its function."""
