"""The best of one segment by its tokens' centroids and its stored tokens, in one call."""
