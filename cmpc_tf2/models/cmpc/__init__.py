"""CMPC (CVPR 2020): words by type, relations between cells, exchange between levels."""
