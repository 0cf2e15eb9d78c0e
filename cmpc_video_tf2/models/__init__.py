"""CMPC-V: what it adds to the parts of CMPC."""
