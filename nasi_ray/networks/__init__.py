"""Search spaces as ``torch`` modules: the one-shot network (supernet) and its parts."""
