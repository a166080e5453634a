"""How good a segmentation is: overlap, partitions, and the score of a split."""
