"""SL-Att. and CG-SL-Att."""
