"""Commands that differ from those of `cmpc_tf2`: options in, library call, text out."""
