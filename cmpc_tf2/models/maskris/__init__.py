"""MaskRIS and CARIS, which are one network: Swin, BERT, and a decoder with deformable attention."""
