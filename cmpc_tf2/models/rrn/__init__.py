"""RRN (CVPR 2018): a ConvLSTM refines a mask with the levels of the backbone."""
